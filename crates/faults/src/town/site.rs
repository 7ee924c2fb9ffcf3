//! A site that knows nothing of payments and counts how often each page was asked for: what it has counted is what a gate
//! has let through. Source: the issue ("goods exactly once per debit").

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::sync::{Arc, Mutex, PoisonError};

use tokio::io::AsyncWriteExt;
use tokio::net::{TcpListener, TcpStream};

use crate::error::FaultsError;
use crate::proxy::wire::{Reader, target_of};

/// A page's length.
const PAGE_BYTES: usize = 3_000;

/// The site; it ends with its runtime.
pub struct Site {
    at: SocketAddr,
    asked: Arc<Mutex<BTreeMap<String, u64>>>,
}

impl Site {
    /// Listens.
    ///
    /// # Errors
    /// `Runtime`.
    pub async fn start() -> Result<Self, FaultsError> {
        let listener = TcpListener::bind("127.0.0.1:0").await.map_err(FaultsError::Runtime)?;
        let at = listener.local_addr().map_err(FaultsError::Runtime)?;
        let asked = Arc::new(Mutex::new(BTreeMap::new()));
        let counted = Arc::clone(&asked);
        tokio::spawn(async move {
            while let Ok((stream, _)) = listener.accept().await {
                tokio::spawn(serve(stream, Arc::clone(&counted)));
            }
        });
        Ok(Self { at, asked })
    }

    /// Its URL.
    #[must_use]
    pub fn url(&self) -> String {
        format!("http://{}", self.at)
    }

    /// How often `METHOD /path` was asked for.
    #[must_use]
    pub fn asked(&self, page: &str) -> u64 {
        self.asked.lock().unwrap_or_else(PoisonError::into_inner).get(page).copied().unwrap_or(0)
    }

    /// Everything that was asked for.
    #[must_use]
    pub fn pages(&self) -> BTreeMap<String, u64> {
        self.asked.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// What stands on a page.
    #[must_use]
    pub fn page(page: &str) -> Vec<u8> {
        format!("{page}\n").into_bytes().into_iter().cycle().take(PAGE_BYTES).collect()
    }
}

async fn serve(mut stream: TcpStream, asked: Arc<Mutex<BTreeMap<String, u64>>>) {
    let (read, mut write) = stream.split();
    let mut reader = Reader::new(read);
    while let Ok(Some(request)) = reader.request().await {
        let Some(page) = target_of(&request) else { return };
        {
            let mut asked = asked.lock().unwrap_or_else(PoisonError::into_inner);
            let count = asked.entry(page.clone()).or_insert(0);
            *count = count.saturating_add(1);
        }
        let body = Site::page(&page);
        let head = format!(
            "HTTP/1.1 200 OK\r\ncontent-type: application/octet-stream\r\ncontent-length: {}\r\n\r\n",
            body.len()
        );
        let answer = [head.into_bytes(), body].concat();
        if write.write_all(&answer).await.is_err() {
            return;
        }
    }
}
