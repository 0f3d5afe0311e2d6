//! A small shop: the app of the demo, in as many versions as are wanted.

use std::convert::Infallible;
use std::io;
use std::net::{Ipv4Addr, SocketAddr};
use std::sync::{Mutex, PoisonError};

use bytes::Bytes;
use http::header::CONTENT_TYPE;
use http::{Request, Response, StatusCode};
use http_body_util::Full;
use hyper::body::Incoming;
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper_util::rt::TokioIo;
use rand::rngs::SmallRng;
use rand::{RngExt, SeedableRng};
use tokio::net::{TcpListener, TcpStream};

/// Serves `version` of the shop on a free port of the loopback until the runtime ends. The share
/// `failing` of its pages is answered with 500, drawn from `seed`.
pub(super) async fn open(version: &'static str, failing: f64, seed: u64) -> io::Result<SocketAddr> {
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await?;
    let address = listener.local_addr()?;
    tokio::spawn(async move {
        let mut visit = seed;
        loop {
            let Ok((stream, _)) = listener.accept().await else { continue };
            visit = visit.wrapping_add(1);
            tokio::spawn(serve(stream, version, failing, visit));
        }
    });
    Ok(address)
}

async fn serve(stream: TcpStream, version: &'static str, failing: f64, seed: u64) {
    let _ = stream.set_nodelay(true);
    let dice = Mutex::new(SmallRng::seed_from_u64(seed));
    let page = |request: Request<Incoming>| {
        let healthy = request.uri().path() == "/health";
        let fails =
            !healthy && dice.lock().unwrap_or_else(PoisonError::into_inner).random_bool(failing);
        async move { Ok::<_, Infallible>(answer(version, fails)) }
    };
    let connection = http1::Builder::new().serve_connection(TokioIo::new(stream), service_fn(page));
    let _ = connection.await;
}

fn answer(version: &str, fails: bool) -> Response<Full<Bytes>> {
    let (status, text) = if fails {
        (StatusCode::INTERNAL_SERVER_ERROR, format!("shop {version}: undefined method `price'\n"))
    } else {
        (StatusCode::OK, format!("shop {version}: one pot of paint, 12.50\n"))
    };
    let mut response = Response::new(Full::new(Bytes::from(text)));
    *response.status_mut() = status;
    let plain = http::HeaderValue::from_static("text/plain");
    response.headers_mut().insert(CONTENT_TYPE, plain);
    response
}
