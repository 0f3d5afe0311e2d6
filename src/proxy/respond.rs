//! The answers Weir makes itself: short pages that name the request and nothing internal.

use std::rc::Rc;

use bytes::Bytes;
use http::header::{CACHE_CONTROL, CONNECTION, CONTENT_TYPE};
use http::{HeaderMap, HeaderValue, Method, Response, StatusCode};

use super::body::ResponseBody;
use super::headers::REQUEST_ID;
use super::line::{Exchange, Line};

/// Whether the connection can be used again after an answer of our own.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum After {
    /// It is closed: what follows on it cannot be told apart.
    Close,
    /// It goes on.
    KeepAlive,
}

/// What an answer of our own belongs to.
#[derive(Debug)]
pub struct About<'a> {
    /// The connection.
    pub line: &'a Rc<Line>,
    /// The request, if it came far enough.
    pub exchange: Option<&'a Rc<Exchange>>,
    /// Its method.
    pub method: &'a Method,
    /// Its identifier, if it has one.
    pub id: Option<&'a HeaderValue>,
}

/// An answer with `status` and one sentence.
pub fn page(
    status: StatusCode,
    sentence: &str,
    about: &About<'_>,
    after: After,
) -> Response<ResponseBody> {
    let id = about.id.and_then(|id| id.to_str().ok());
    let id = id.map_or(String::new(), |id| format!("request {id}\n"));
    text(status, format!("{status}\n{sentence}\n{id}"), about, after)
}

/// An answer with `status` and `text`, word for word.
pub fn text(
    status: StatusCode,
    text: String,
    about: &About<'_>,
    after: After,
) -> Response<ResponseBody> {
    let kind = HeaderValue::from_static("text/plain; charset=utf-8");
    whole(status, kind, text, about, after)
}

/// The same with text of another `kind`.
pub fn whole(
    status: StatusCode,
    kind: HeaderValue,
    mut text: String,
    about: &About<'_>,
    after: After,
) -> Response<ResponseBody> {
    let length = text.len();
    if *about.method == Method::HEAD {
        text.clear();
    }
    let body =
        ResponseBody::page(Bytes::from(text), Rc::clone(about.line), about.exchange.cloned());
    let mut response = Response::new(body);
    *response.status_mut() = status;
    let headers = response.headers_mut();
    headers.insert(CONTENT_TYPE, kind);
    headers.insert(CACHE_CONTROL, HeaderValue::from_static("no-store"));
    if *about.method == Method::HEAD {
        headers.insert(http::header::CONTENT_LENGTH, HeaderValue::from(length));
    }
    if let Some(id) = about.id {
        headers.insert(REQUEST_ID, id.clone());
    }
    if after == After::Close && !about.line.multiplexed.get() {
        about.line.lingers.set(true);
        last(about.line, headers);
    }
    response
}

/// Says in the head of an answer that it is the last on its line; with HTTP/2 the line says so
/// itself.
pub fn last(line: &Line, headers: &mut HeaderMap) {
    if line.multiplexed.get() {
        line.close_soon();
    } else {
        headers.insert(CONNECTION, HeaderValue::from_static("close"));
    }
}
