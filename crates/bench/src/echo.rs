//! What HTTP alone costs: a handler that reads a body and answers with so many bytes, on the same accept loop, limits and
//! body reading as the operator, under the same load. Source: performance.md ("compared ... in the same run").

use std::net::SocketAddr;
use std::time::Duration;

use axum::Router;
use axum::extract::Request;
use axum::http::{HeaderValue, header};
use axum::response::{IntoResponse, Response};
use axum::routing::post;
use bytes::Bytes;
use florin_http::{Limits, Stop, read_body, require_type};
use florin_rail::common::MESSAGE_BYTES_MAX;
use florin_shell::exchange::CONTENT_TYPE;
use serde::{Deserialize, Serialize};
use tokio::net::TcpListener;
use tokio::sync::oneshot;

use crate::error::BenchError;
use crate::load::{Came, Load, Pace, run};
use crate::machine::cpu_of_threads;

/// The name of the echo's threads, by which their time is told from the load's.
const THREADS: &str = "echo";

/// What HTTP alone costs.
#[derive(Clone, Copy, PartialEq, Debug, Serialize, Deserialize)]
pub struct Echo {
    /// Requests a second.
    pub requests_per_s: f64,
    /// Processor time of the server for each, in microseconds.
    pub server_cpu_us: f64,
}

/// Measures the echo with bodies and answers of these sizes.
///
/// # Errors
/// `Connection`, `Worker`, `NothingMeasured`.
pub async fn measure(
    body_bytes: usize,
    answer_bytes: usize,
    connections: usize,
    window: Duration,
) -> Result<Echo, BenchError> {
    let stop = Stop::new();
    let (tell, told) = oneshot::channel();
    let stopping = stop.clone();
    let server = std::thread::spawn(move || serve(answer_bytes, tell, stopping));
    let address = told.await.map_err(|_| BenchError::Connection("the echo did not start".into()))?;
    let load = Load {
        address,
        path: "/echo".into(),
        connections,
        pace: Pace::Closed,
        warm_up: Duration::from_millis(300),
        window,
    };
    let body = Bytes::from(vec![7; body_bytes]);
    let count = usize::try_from(window.as_millis()).unwrap_or(usize::MAX).saturating_mul(200);
    let mut cpu = Vec::new();
    let ran = run(load, vec![body; count], || cpu.push(cpu_of_threads(THREADS))).await;
    stop.trigger();
    // Its thread ends with the runtime in it; a panic there is seen as no answers.
    let _ = server.join();
    let ran = ran?;
    let answered = ran.counted().filter(|s| matches!(s.came, Came::Answer(_))).count();
    let (Some(count), [before, after]) = (u32::try_from(answered).ok().filter(|n| *n > 0), cpu.as_slice())
    else {
        return Err(BenchError::NothingMeasured("the echo".into()));
    };
    let took = ran.until.saturating_duration_since(ran.from).as_secs_f64();
    let each = after.saturating_sub(*before).as_secs_f64() / f64::from(count);
    Ok(Echo { requests_per_s: f64::from(count) / took, server_cpu_us: each * 1e6 })
}

fn serve(answer_bytes: usize, tell: oneshot::Sender<SocketAddr>, stop: Stop) {
    let runtime = tokio::runtime::Builder::new_multi_thread().thread_name(THREADS).enable_all().build();
    let Ok(runtime) = runtime else { return };
    let serving = async move {
        let Ok(listener) = TcpListener::bind("127.0.0.1:0").await else { return };
        let Ok(address) = listener.local_addr() else { return };
        let app = Router::new().route("/echo", post(move |request| echo(request, answer_bytes)));
        if tell.send(address).is_ok() {
            let limits = Limits { loopback_exempt: true, ..Limits::default() };
            florin_http::serve(listener, None, app, limits, stop).await;
        }
    };
    // On a worker thread, as the operator's accept loop is.
    let _ = runtime.block_on(runtime.spawn(serving));
}

async fn echo(request: Request, answer_bytes: usize) -> Response {
    let (parts, body) = request.into_parts();
    let read = async {
        require_type(&parts.headers, CONTENT_TYPE)?;
        read_body(body, MESSAGE_BYTES_MAX, Duration::from_secs(10)).await
    };
    match read.await {
        Ok(body) => {
            let answer: Vec<u8> = body.iter().copied().cycle().take(answer_bytes).collect();
            let headers = [(header::CONTENT_TYPE, HeaderValue::from_static(CONTENT_TYPE))];
            (headers, answer).into_response()
        }
        Err(refusal) => florin_http::Problem::from(refusal).into_response(),
    }
}
