//! One handle that tells every part of a program to stop.
use std::io;
use std::sync::Arc;
use tokio::sync::watch;

/// A cloneable stop handle: triggered once, by hand or by a signal, and never taken back.
#[derive(Clone, Debug)]
pub struct Stop(Arc<watch::Sender<bool>>);

impl Default for Stop {
    fn default() -> Self {
        Self::new()
    }
}

impl Stop {
    /// A handle that only [`Stop::trigger`] triggers.
    #[must_use]
    pub fn new() -> Self {
        Self(Arc::new(watch::Sender::new(false)))
    }

    /// A handle that SIGINT and SIGTERM trigger as well. Must be called within a tokio runtime.
    ///
    /// # Errors
    /// If the system refuses to install a signal handler.
    #[cfg(unix)]
    pub fn on_signal() -> io::Result<Self> {
        use tokio::signal::unix::{SignalKind, signal};
        let mut interrupt = signal(SignalKind::interrupt())?;
        let mut terminate = signal(SignalKind::terminate())?;
        let stop = Self::new();
        let triggered = stop.clone();
        tokio::spawn(async move {
            tokio::select! {
                _ = interrupt.recv() => tracing::info!("interrupted, stopping"),
                _ = terminate.recv() => tracing::info!("told to terminate, stopping"),
            }
            triggered.trigger();
        });
        Ok(stop)
    }

    /// Tells everyone to stop.
    pub fn trigger(&self) {
        self.0.send_replace(true);
    }

    /// Whether it has been triggered.
    #[must_use]
    pub fn is_triggered(&self) -> bool {
        *self.0.borrow()
    }

    /// Ends when it is triggered; at once if it already is.
    pub async fn stopped(&self) {
        let mut seen = self.0.subscribe();
        // The sender lives as long as `self`, so this cannot fail.
        let _ = seen.wait_for(|stopped| *stopped).await;
    }
}
