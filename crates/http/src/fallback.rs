//! Answers for paths and methods that nobody serves.
use crate::problem::Problem;
use axum::Router;
use florin_rail::{Blame, Class, Refusal};

/// Nothing is served at this path.
pub const NO_SUCH_PAGE: Refusal = Refusal::new("no-such-page", Class::NotFound, Blame::Asker, false);
/// The path exists, the method does not.
pub const METHOD_NOT_ALLOWED: Refusal =
    Refusal::new("method-not-allowed", Class::MethodNotAllowed, Blame::Asker, false);

/// Adds problem+json answers for unknown paths and methods. Call it after the last route was added.
pub fn with_fallbacks(router: Router) -> Router {
    router
        .method_not_allowed_fallback(async || Problem::from(METHOD_NOT_ALLOWED))
        .fallback(async || Problem::from(NO_SUCH_PAGE))
}
