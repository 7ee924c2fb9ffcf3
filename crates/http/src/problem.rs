//! Refusals on the wire as problem+json, and the one table from class to status.
//! Source: RFC 9457; G9; house rules 11 and 12.
use axum::body::Body;
use axum::http::{HeaderMap, HeaderValue, Response, StatusCode, header};
use axum::response::IntoResponse;
use florin_rail::{Blame, Class, Refusal};
use serde::{Deserialize, Serialize};
use std::fmt::Display;
use std::hash::{BuildHasher, Hasher};

/// The media type of a refusal.
pub const PROBLEM_TYPE: &str = "application/problem+json";
/// Most bytes of a problem body that an asker reads as one.
pub const PROBLEM_BYTES_MAX: usize = 16 * 1024;
/// What `Retry-After` says when the refusal passes by itself but names no time.
const RETRY_AFTER_DEFAULT_S: u32 = 1;

/// The status of each class. Source: RFC 9110 §15; RFC 4918 for 507.
#[must_use]
pub const fn status_of(class: Class) -> StatusCode {
    match class {
        Class::BadRequest => StatusCode::BAD_REQUEST,
        Class::NotFound => StatusCode::NOT_FOUND,
        Class::Conflict => StatusCode::CONFLICT,
        Class::Gone => StatusCode::GONE,
        Class::TooLarge => StatusCode::PAYLOAD_TOO_LARGE,
        Class::UnsupportedType => StatusCode::UNSUPPORTED_MEDIA_TYPE,
        Class::MethodNotAllowed => StatusCode::METHOD_NOT_ALLOWED,
        Class::TooMany => StatusCode::TOO_MANY_REQUESTS,
        Class::Denied => StatusCode::FORBIDDEN,
        // An open outcome is never a 402 or a 4xx: the asker would start anew and pay twice.
        Class::NotYet | Class::Unavailable => StatusCode::SERVICE_UNAVAILABLE,
        Class::StorageFull => StatusCode::INSUFFICIENT_STORAGE,
        Class::Fault => StatusCode::INTERNAL_SERVER_ERROR,
        Class::TooSlow => StatusCode::REQUEST_TIMEOUT,
        Class::UnknownHost => StatusCode::MISDIRECTED_REQUEST,
    }
}

/// The sentence for people of each class.
const fn title_of(class: Class) -> &'static str {
    match class {
        Class::BadRequest => "The request cannot be read or trusted",
        Class::NotFound => "There is no such thing",
        Class::Conflict => "It contradicts what is recorded",
        Class::Gone => "Its time has passed",
        Class::TooLarge => "More bytes than allowed",
        Class::UnsupportedType => "Another content type is wanted",
        Class::MethodNotAllowed => "Another method is wanted",
        Class::TooMany => "Too many requests",
        Class::Denied => "Not allowed",
        Class::NotYet => "Not decided yet",
        Class::Unavailable => "Cannot be served now",
        Class::StorageFull => "No room to record anything",
        Class::Fault => "A fault of this program",
        Class::TooSlow => "The request did not arrive in time",
        Class::UnknownHost => "The request names another host",
    }
}

/// The word on the wire for who must act.
const fn actor(blame: Blame) -> &'static str {
    match blame {
        Blame::Asker => "asker",
        Blame::Payer => "payer",
        Blame::Payee => "payee",
        Blame::Operator => "operator",
        Blame::Nobody => "nobody",
    }
}

/// A refusal ready to be answered.
///
/// Shape: a JSON object {type, title, status, slug, `who_must_act`, `same_bytes_may_be_sent_again`, detail?,
/// `log_id`?}. Units: `Retry-After` in seconds. Source: RFC 9457 §3.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Problem {
    status: StatusCode,
    retry_after_s: Option<u32>,
    body: ProblemBody,
}

#[derive(Clone, PartialEq, Eq, Debug, Serialize)]
struct ProblemBody {
    r#type: String,
    title: &'static str,
    status: u16,
    slug: &'static str,
    who_must_act: &'static str,
    same_bytes_may_be_sent_again: bool,
    #[serde(skip_serializing_if = "Option::is_none")]
    detail: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    log_id: Option<String>,
}

impl Problem {
    /// A fault: the cause goes to the log under a fresh id, and only the id to the asker.
    #[must_use]
    pub fn fault(cause: &dyn Display) -> Self {
        let log_id = fresh_log_id();
        tracing::error!(%log_id, %cause, "fault");
        Self::bare_fault(log_id)
    }

    /// The status it is answered with.
    #[must_use]
    pub const fn status(&self) -> StatusCode {
        self.status
    }

    /// The stable name.
    #[must_use]
    pub const fn slug(&self) -> &'static str {
        self.body.slug
    }

    /// The id under which a fault is found in the log.
    #[must_use]
    pub fn log_id(&self) -> Option<&str> {
        self.body.log_id.as_deref()
    }

    /// The JSON text.
    #[must_use]
    pub fn to_json(&self) -> String {
        // A struct of strings, a number and a bool always serialises; an empty object is still a valid problem.
        serde_json::to_string(&self.body).unwrap_or_else(|_| "{}".to_owned())
    }

    fn bare_fault(log_id: String) -> Self {
        let refusal = Refusal::new("fault", Class::Fault, Blame::Operator, true);
        let mut problem = Self::plain(refusal);
        problem.body.log_id = Some(log_id);
        problem
    }

    fn plain(refusal: Refusal) -> Self {
        let status = status_of(refusal.class);
        Self {
            status,
            retry_after_s: refusal.retry_after_s.or(retry_after_of(refusal.class)),
            body: ProblemBody {
                r#type: format!("urn:florin:problem:{}", refusal.slug),
                title: title_of(refusal.class),
                status: status.as_u16(),
                slug: refusal.slug,
                who_must_act: actor(refusal.blame),
                same_bytes_may_be_sent_again: refusal.transient,
                detail: refusal.detail,
                log_id: None,
            },
        }
    }
}

/// What passes by itself says when to come back even if the refusal does not.
const fn retry_after_of(class: Class) -> Option<u32> {
    match class {
        Class::TooMany | Class::NotYet | Class::Unavailable => Some(RETRY_AFTER_DEFAULT_S),
        Class::BadRequest
        | Class::NotFound
        | Class::Conflict
        | Class::Gone
        | Class::TooLarge
        | Class::UnsupportedType
        | Class::MethodNotAllowed
        | Class::Denied
        | Class::StorageFull
        | Class::Fault
        | Class::TooSlow
        | Class::UnknownHost => None,
    }
}

/// Unique enough to find one line in a log; the standard library's hasher is seeded by the system.
fn fresh_log_id() -> String {
    let hash = std::collections::hash_map::RandomState::new().build_hasher().finish();
    format!("{hash:016x}")
}

impl From<Refusal> for Problem {
    fn from(refusal: Refusal) -> Self {
        if refusal.class == Class::Fault {
            let log_id = fresh_log_id();
            tracing::error!(%log_id, slug = refusal.slug, detail = refusal.detail.as_deref(), "fault");
            return Self::bare_fault(log_id);
        }
        Self::plain(refusal)
    }
}

impl IntoResponse for Problem {
    fn into_response(self) -> Response<Body> {
        let mut response = Response::new(Body::from(self.to_json()));
        *response.status_mut() = self.status;
        let headers = response.headers_mut();
        headers.insert(header::CONTENT_TYPE, HeaderValue::from_static(PROBLEM_TYPE));
        headers.insert(header::CACHE_CONTROL, HeaderValue::from_static("no-store"));
        if let Some(seconds) = self.retry_after_s {
            headers.insert(header::RETRY_AFTER, HeaderValue::from(seconds));
        }
        response
    }
}

/// A refusal as the asking side reads it. Unknown members are ignored, missing ones are `None`.
///
/// Source: RFC 9457 §3.
#[derive(Clone, PartialEq, Eq, Debug, Default, Deserialize)]
#[serde(default)]
pub struct ProblemView {
    /// The problem type, a URI reference.
    pub r#type: Option<String>,
    /// A sentence for people.
    pub title: Option<String>,
    /// The status, as the body repeats it.
    pub status: Option<u16>,
    /// Our stable name.
    pub slug: Option<String>,
    /// Who must act: `asker`, `payer`, `payee`, `operator` or `nobody`.
    pub who_must_act: Option<String>,
    /// Whether the same bytes may succeed later.
    pub same_bytes_may_be_sent_again: Option<bool>,
    /// More for people.
    pub detail: Option<String>,
    /// The id of a fault in the answering side's log.
    pub log_id: Option<String>,
    /// From the header `Retry-After`, in seconds.
    #[serde(skip)]
    pub retry_after_s: Option<u32>,
}

impl ProblemView {
    /// Reads a refusal, if this answer is one.
    #[must_use]
    pub fn parse(headers: &HeaderMap, body: &[u8]) -> Option<Self> {
        if !crate::body::is_type(headers, PROBLEM_TYPE) || body.len() > PROBLEM_BYTES_MAX {
            return None;
        }
        // serde would read an array as the members in order; RFC 9457 knows only objects.
        if body.trim_ascii_start().first() != Some(&b'{') {
            return None;
        }
        let mut view: Self = serde_json::from_slice(body).ok()?;
        view.retry_after_s = retry_after(headers);
        Some(view)
    }
}

/// `Retry-After` in seconds; the date form is not read.
#[must_use]
pub fn retry_after(headers: &HeaderMap) -> Option<u32> {
    headers.get(header::RETRY_AFTER)?.to_str().ok()?.trim().parse().ok()
}
