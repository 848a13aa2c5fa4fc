//! `GET /api/v1/openapi.json`: this API's own description.

use std::sync::Arc;

use axum::extract::State;
use utoipa::Modify;
use utoipa::OpenApi;
use utoipa::openapi::security::{HttpAuthScheme, HttpBuilder, SecurityScheme};

use crate::admin::State as Shared;
use crate::admin::extract::Json;

/// What the document says besides the routes.
#[derive(OpenApi)]
#[openapi(
    info(
        title = "Standin admin API",
        description = "Errors are problem objects (RFC 9457), `application/problem+json`."
    ),
    modifiers(&Bearer),
    security(("token" = []))
)]
pub(in crate::admin) struct Document;

struct Bearer;

impl Modify for Bearer {
    fn modify(&self, document: &mut utoipa::openapi::OpenApi) {
        let token = HttpBuilder::new()
            .scheme(HttpAuthScheme::Bearer)
            .description(Some("A token of admin.tokens"))
            .build();
        document
            .components
            .get_or_insert_default()
            .add_security_scheme("token", SecurityScheme::Http(token));
    }
}

/// This document.
#[utoipa::path(get, path = "/openapi.json", responses((status = 200, description = "An OpenAPI 3.1 document")))]
pub(super) async fn openapi(
    State(state): State<Arc<Shared>>,
) -> Json<Arc<utoipa::openapi::OpenApi>> {
    Json(state.document.clone())
}
