//! The list of routes, and the description that is made from it.

use std::sync::Arc;

use axum::extract::State;
use axum::http::StatusCode;
use axum::response::{IntoResponse, Response};
use axum::{Extension, Json, Router, middleware};
use utoipa::OpenApi;
use utoipa::openapi::security::{HttpAuthScheme, HttpBuilder, SecurityScheme};
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;

use super::api::{Kind, Trouble};
use super::guard::{self, Guard};
use super::{
    Admin, answers, caches, commands, history, notifications, page, plan, preflight, reports,
    sessions, stream, views,
};

/// What stands above the list.
#[derive(OpenApi)]
#[openapi(
    info(
        title = "Weir",
        description = "Canary rollouts without Kubernetes: how things stand, and orders.\n\nReads \
                       are open on the machine itself, while the API listens on a loopback address; \
                       from elsewhere, through a proxy, and for everything that changes something, send `Authorization: Bearer TOKEN`. \
                       Browsers log in at `/api/v1/session`."
    ),
    modifiers(&Tokens)
)]
struct Description;

struct Tokens;

impl utoipa::Modify for Tokens {
    fn modify(&self, description: &mut utoipa::openapi::OpenApi) {
        let scheme = HttpBuilder::new().scheme(HttpAuthScheme::Bearer).build();
        let components = description.components.get_or_insert_default();
        components.add_security_scheme("token", SecurityScheme::Http(scheme));
    }
}

fn open() -> OpenApiRouter<Arc<Admin>> {
    OpenApiRouter::with_openapi(Description::openapi()).routes(routes!(views::healthz))
}

fn reads() -> OpenApiRouter<Arc<Admin>> {
    OpenApiRouter::new()
        .routes(routes!(views::readyz))
        .routes(routes!(views::metrics))
        .routes(routes!(views::status))
        .routes(routes!(views::explain))
        .routes(routes!(views::log))
        .routes(routes!(history::history))
        .routes(routes!(stream::stream))
        .routes(routes!(plan::plan))
        .routes(routes!(reports::report))
        .routes(routes!(caches::caches))
        .routes(routes!(description))
}

fn changes() -> OpenApiRouter<Arc<Admin>> {
    OpenApiRouter::new()
        .routes(routes!(commands::orders))
        .routes(routes!(commands::reload))
        .routes(routes!(caches::empty))
        .routes(routes!(answers::purge))
        .routes(routes!(notifications::test))
        .routes(routes!(preflight::preflight))
}

/// Answers to whoever has a token.
fn named() -> OpenApiRouter<Arc<Admin>> {
    OpenApiRouter::new().routes(routes!(views::whoami))
}

/// Of browsers: who comes with a token goes with a cookie.
fn logins() -> OpenApiRouter<Arc<Admin>> {
    OpenApiRouter::new().routes(routes!(sessions::log_in, sessions::log_out))
}

/// All routes, guarded.
pub(super) fn router(admin: Arc<Admin>, guard: &Arc<Guard>) -> Router {
    let read = middleware::from_fn_with_state(Arc::clone(guard), guard::read);
    let change = middleware::from_fn_with_state(Arc::clone(guard), guard::change);
    let host = middleware::from_fn_with_state(Arc::clone(guard), guard::host);
    open()
        .merge(logins().layer(Extension(Arc::clone(guard))))
        .merge(reads().merge(named()).route_layer(read))
        .merge(changes().route_layer(change))
        .split_for_parts()
        .0
        .merge(page::router())
        .fallback(no_such_route)
        .method_not_allowed_fallback(no_such_method)
        .layer(host)
        .with_state(admin)
}

/// The description of the API in `OpenAPI`.
pub fn openapi() -> utoipa::openapi::OpenApi {
    open().merge(logins()).merge(reads()).merge(named()).merge(changes()).into_openapi()
}

/// This description.
#[utoipa::path(
    get, path = "/api/v1/openapi.json", tag = "look",
    responses((status = 200, description = "The description of the API", body = Object))
)]
async fn description(State(_): State<Arc<Admin>>) -> Response {
    Json(openapi()).into_response()
}

async fn no_such_route() -> Trouble {
    Trouble::new(Kind::NotFound, "no such route; /api/v1/openapi.json lists what there is")
}

async fn no_such_method() -> Response {
    let error = "this route does not take that method; see /api/v1/openapi.json";
    let mut response = Trouble::new(Kind::NotFound, error).into_response();
    *response.status_mut() = StatusCode::METHOD_NOT_ALLOWED;
    response
}
