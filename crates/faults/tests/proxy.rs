//! Each kind of damage against a tiny server that counts what reaches it: the proxy does what it says, and only that.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    clippy::arithmetic_side_effects,
    missing_docs
)]

use std::io::ErrorKind;
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use florin_faults::dice::Dice;
use florin_faults::proxy::wire::Reader;
use florin_faults::proxy::{Kind, Proxy};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::time::timeout;

/// What reached the server: whole bodies, and how often a request broke off.
#[derive(Default)]
struct Reached {
    whole: Vec<String>,
    broken: usize,
}

/// Answers each request with its body, twice.
async fn echo() -> (std::net::SocketAddr, Arc<Mutex<Reached>>) {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let at = listener.local_addr().unwrap();
    let reached = Arc::new(Mutex::new(Reached::default()));
    let shared = Arc::clone(&reached);
    tokio::spawn(async move {
        while let Ok((mut stream, _)) = listener.accept().await {
            let reached = Arc::clone(&shared);
            tokio::spawn(async move {
                let (read, mut write) = stream.split();
                let mut reader = Reader::new(read);
                loop {
                    match reader.request().await {
                        Ok(Some(request)) => {
                            let body = String::from_utf8_lossy(request.body()).into_owned();
                            reached.lock().unwrap().whole.push(body.clone());
                            let answer = format!(
                                "HTTP/1.1 200 OK\r\ncontent-length: {}\r\n\r\n{body}{body}",
                                body.len() * 2
                            );
                            let _ = write.write_all(answer.as_bytes()).await;
                        }
                        Ok(None) => return,
                        Err(_) => {
                            reached.lock().unwrap().broken += 1;
                            return;
                        }
                    }
                }
            });
        }
    });
    (at, reached)
}

const BODY: &str = "a body of some length, so that there is something to cut";

fn request(body: &str) -> String {
    format!("POST /x HTTP/1.1\r\nhost: h\r\ncontent-length: {}\r\n\r\n{body}", body.len())
}

/// What came back: the answer's body, or the bytes until the end, or the error.
#[derive(Debug, PartialEq)]
enum Came {
    Answer(String),
    Part(usize),
    Error(ErrorKind),
}

async fn ask(stream: &mut TcpStream, body: &str) -> Came {
    if let Err(error) = stream.write_all(request(body).as_bytes()).await {
        return Came::Error(error.kind());
    }
    let whole =
        format!("HTTP/1.1 200 OK\r\ncontent-length: {}\r\n\r\n", body.len() * 2).len() + body.len() * 2;
    let mut bytes = Vec::new();
    let mut some = [0; 512];
    while bytes.len() < whole {
        match stream.read(&mut some).await {
            Ok(0) => return Came::Part(bytes.len()),
            Ok(n) => bytes.extend_from_slice(&some[..n]),
            Err(error) => return Came::Error(error.kind()),
        }
    }
    let text = String::from_utf8(bytes).unwrap();
    Came::Answer(text.split_once("\r\n\r\n").unwrap().1.to_owned())
}

struct Try {
    came: Came,
    took: Duration,
    whole: usize,
    broken: usize,
}

/// One exchange in which everything is damaged so, healed after a second.
async fn tried(kind: Kind) -> Try {
    let (at, reached) = echo().await;
    let proxy = Proxy::start(at, Dice::new(7, 7)).await.unwrap();
    proxy.switch().all(kind);
    let mut stream = TcpStream::connect(proxy.at()).await.unwrap();
    let begun = Instant::now();
    let (came, ()) = tokio::join!(ask(&mut stream, BODY), async {
        tokio::time::sleep(Duration::from_secs(1)).await;
        proxy.switch().heal();
    });
    let took = begun.elapsed();
    tokio::time::sleep(Duration::from_millis(900)).await;
    assert_eq!((proxy.switch().damaged(), proxy.switch().passed()), (1, 0), "{}", kind.name());
    // And once it is healed, nothing is damaged any more.
    let mut stream = TcpStream::connect(proxy.at()).await.unwrap();
    assert_eq!(ask(&mut stream, "well").await, Came::Answer("wellwell".into()), "{}", kind.name());
    let reached = reached.lock().unwrap();
    let whole = reached.whole.iter().filter(|body| *body == BODY).count();
    Try { came, took, whole, broken: reached.broken }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn each_kind_does_what_it_says() {
    let mut kinds = tokio::task::JoinSet::new();
    for kind in Kind::ALL {
        kinds.spawn(check(kind));
    }
    while let Some(checked) = kinds.join_next().await {
        checked.unwrap();
    }
}

async fn check(kind: Kind) {
    let full = Came::Answer(BODY.repeat(2));
    let Try { came, took, whole, broken } = tried(kind).await;
    let name = kind.name();
    let (answered, slow) = (came == full, took > Duration::from_millis(900));
    match kind {
        Kind::DelayRequest | Kind::DelayAnswer | Kind::DribbleRequest | Kind::DribbleAnswer => {
            assert!(answered && slow && whole == 1, "{name}: {came:?} {took:?} {whole}");
        }
        Kind::HoleRequest | Kind::HoleAnswer => {
            assert!(answered && slow && whole == 1, "{name}: {came:?} {took:?} {whole}");
        }
        Kind::CutBeforeRequest => assert_eq!((came, whole, broken), (Came::Part(0), 0, 0), "{name}"),
        Kind::CutInsideRequest => assert_eq!((came, whole, broken), (Came::Part(0), 0, 1), "{name}"),
        Kind::CutBeforeAnswer => assert_eq!((came, whole), (Came::Part(0), 1), "{name}"),
        Kind::CutInsideAnswer => {
            assert!(matches!(came, Came::Part(1..)) && whole == 1, "{name}: {came:?} {whole}");
        }
        Kind::ResetRequest => {
            assert_eq!((came, whole), (Came::Error(ErrorKind::ConnectionReset), 0), "{name}");
        }
        Kind::ResetAnswer => {
            assert_eq!((came, whole), (Came::Error(ErrorKind::ConnectionReset), 1), "{name}");
        }
        Kind::Duplicate | Kind::DuplicateLate => {
            assert!(answered && whole == 2, "{name}: {came:?} {whole}")
        }
        Kind::Reorder => assert!(answered && whole == 1, "{name}: {came:?} {whole}"),
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn of_two_the_later_one_arrives_first() {
    let (at, reached) = echo().await;
    let proxy = Proxy::start(at, Dice::new(7, 7)).await.unwrap();
    proxy.switch().all(Kind::Reorder);
    let (mut one, mut two) =
        (TcpStream::connect(proxy.at()).await.unwrap(), TcpStream::connect(proxy.at()).await.unwrap());
    let (first, second) = tokio::join!(ask(&mut one, "first"), async {
        tokio::time::sleep(Duration::from_millis(100)).await;
        ask(&mut two, "second").await
    });
    assert_eq!((first, second), (Came::Answer("firstfirst".into()), Came::Answer("secondsecond".into())));
    assert_eq!(reached.lock().unwrap().whole, ["second", "first"]);
}

/// A request that falls into a hole arrives when its asker has gone.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_request_in_a_hole_arrives_when_nobody_waits_any_more() {
    let (at, reached) = echo().await;
    let proxy = Proxy::start(at, Dice::new(7, 7)).await.unwrap();
    proxy.switch().all(Kind::HoleRequest);
    let mut stream = TcpStream::connect(proxy.at()).await.unwrap();
    assert!(timeout(Duration::from_millis(600), ask(&mut stream, BODY)).await.is_err(), "it was answered");
    drop(stream);
    assert_eq!(reached.lock().unwrap().whole.len(), 0);
    proxy.switch().heal();
    tokio::time::sleep(Duration::from_millis(400)).await;
    assert_eq!(reached.lock().unwrap().whole, [BODY]);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn one_of_two_is_damaged_or_so() {
    let (at, reached) = echo().await;
    let proxy = Proxy::start(at, Dice::new(1, 2)).await.unwrap();
    proxy.switch().some(Kind::CutBeforeRequest, 2);
    for _ in 0..200 {
        let mut stream = TcpStream::connect(proxy.at()).await.unwrap();
        ask(&mut stream, BODY).await;
    }
    let (damaged, passed) = (proxy.switch().damaged(), proxy.switch().passed());
    assert!((60..=140).contains(&damaged) && damaged + passed == 200, "{damaged} {passed}");
    assert_eq!(u64::try_from(reached.lock().unwrap().whole.len()).unwrap(), passed);
}
