//! `/.well-known/florin`: how an operator describes itself, written and read in one place. Only the signed key list in it
//! is trusted, once its signature is checked. Source: architecture.md, "Conventions"; G12.

use axum::http::{HeaderMap, HeaderValue, Method, header};
use data_encoding::BASE64URL_NOPAD;
use florin_http::{Client, SendError};
use serde::{Deserialize, Serialize};

/// Where it is.
pub const PATH: &str = "/.well-known/florin";
/// The version of this description.
const VERSION: u64 = 1;
/// It has at most so many bytes.
const BYTES_MAX: usize = 256 * 1024;

/// What an operator says of itself.
///
/// Shape: JSON; `keys` is the signed key list in base64url, the rest is for people.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct Description {
    /// The version.
    pub florin: u64,
    /// The signed key list.
    pub keys: String,
    /// What it calls itself.
    #[serde(default)]
    pub name: String,
    /// The network id.
    #[serde(default)]
    pub network: String,
    /// Whether nothing here is worth anything.
    #[serde(default)]
    pub test: bool,
    /// The operator's clock, in milliseconds since 1970.
    #[serde(default)]
    pub time_ms: u64,
    /// How often the operator's key holders have opened who bought which coins.
    #[serde(default)]
    pub openings: Openings,
}

/// Openings of trust-based anonymity. Only their number is told, and a digest to which the operator is bound: its log must
/// end with it.
#[derive(Clone, PartialEq, Eq, Debug, Default, Serialize, Deserialize)]
pub struct Openings {
    /// Orders of both key holders.
    pub orders: u64,
    /// Purchases that were opened for them.
    pub boxes: u64,
    /// The digest at the end of the log, in hexadecimal.
    pub log: String,
}

impl Description {
    /// A description with this key list.
    #[must_use]
    pub fn new(signed_list: &[u8], name: &str, network: String, test: bool, time_ms: u64) -> Self {
        let keys = BASE64URL_NOPAD.encode(signed_list);
        let openings = Openings::default();
        Self { florin: VERSION, keys, name: name.to_owned(), network, test, time_ms, openings }
    }

    /// The same, with the number of openings.
    #[must_use]
    pub fn with_openings(mut self, openings: Openings) -> Self {
        self.openings = openings;
        self
    }

    /// The bytes of the signed key list in a description; nothing where it is none.
    #[must_use]
    pub fn signed_list(body: &[u8]) -> Option<Vec<u8>> {
        let description: Self = serde_json::from_slice(body).ok()?;
        if description.florin != VERSION {
            return None;
        }
        BASE64URL_NOPAD.decode(description.keys.as_bytes()).ok()
    }
}

/// Why there is no description.
#[derive(Debug, thiserror::Error)]
pub enum FetchError {
    /// It cannot be reached.
    #[error(transparent)]
    Send(#[from] SendError),
    /// There is none there.
    #[error("it has no description at {PATH}")]
    None,
    /// What is there is none.
    #[error("its description cannot be read")]
    Unreadable,
}

/// Gets the signed key list of the operator at a URL. Nothing in it is trusted before its signature is checked.
///
/// # Errors
/// [`FetchError`].
pub async fn fetch(client: &Client, base: &str) -> Result<Vec<u8>, FetchError> {
    let url = format!("{}{PATH}", base.trim_end_matches('/'));
    let headers = HeaderMap::from_iter([(header::ACCEPT, HeaderValue::from_static("application/json"))]);
    let answer = client.request(Method::GET, &url, headers, Vec::new().into(), BYTES_MAX).await?;
    if !answer.status.is_success() {
        return Err(FetchError::None);
    }
    Description::signed_list(&answer.body).ok_or(FetchError::Unreadable)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_description_is_read_and_what_is_none_is_refused() {
        let own = Description::new(&[1, 2], "x", "n".into(), true, 7);
        assert_eq!(Description::signed_list(&serde_json::to_vec(&own).unwrap()), Some(vec![1, 2]));
        let read = |text: &str| Description::signed_list(text.as_bytes());
        assert_eq!(read(r#"{"florin":1,"keys":"AQI","name":"x","more":[]}"#), Some(vec![1, 2]));
        for bad in ["", "[]", "{}", r#"{"florin":2,"keys":"AQI"}"#, r#"{"florin":1,"keys":"A=="}"#] {
            assert!(read(bad).is_none(), "{bad}");
        }
    }
}
