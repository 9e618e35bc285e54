//! A receiver of HTTP for tests: keeps what comes and answers with what it is told, byte for byte.

#![expect(clippy::disallowed_methods, reason = "tests")]

use std::sync::{Arc, Mutex};

use http::Uri;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpListener, TcpStream};

/// A request as it came.
#[derive(Clone, Debug)]
pub(super) struct Request {
    /// Method, target and version.
    pub(super) line: String,
    /// The lines of the head.
    pub(super) head: String,
    pub(super) body: Vec<u8>,
}

/// A receiver.
pub(super) struct Receiver {
    port: u16,
    shared: Arc<Shared>,
    task: tokio::task::JoinHandle<()>,
}

#[derive(Default)]
struct Shared {
    requests: Mutex<Vec<Request>>,
    answer: Mutex<String>,
}

impl Receiver {
    pub(super) const OK: &'static str = "HTTP/1.1 204 OK\r\n\r\n";

    pub(super) async fn start() -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let port = listener.local_addr().unwrap().port();
        let shared = Arc::new(Shared::default());
        *shared.answer.lock().unwrap() = Self::OK.to_owned();
        let kept = Arc::clone(&shared);
        let task = tokio::spawn(async move {
            while let Ok((stream, _)) = listener.accept().await {
                tokio::spawn(serve(stream, Arc::clone(&kept)));
            }
        });
        Self { port, shared, task }
    }

    pub(super) fn url(&self, path: &str) -> Uri {
        format!("http://127.0.0.1:{}{path}", self.port).parse().unwrap()
    }

    /// Answers so from now on; nothing is a connection that is closed.
    pub(super) fn answer(&self, text: &str) {
        *self.shared.answer.lock().unwrap() = text.to_owned();
    }

    pub(super) fn requests(&self) -> Vec<Request> {
        self.shared.requests.lock().unwrap().clone()
    }
}

impl Drop for Receiver {
    fn drop(&mut self) {
        self.task.abort();
    }
}

async fn serve(mut stream: TcpStream, shared: Arc<Shared>) {
    let mut held = Vec::new();
    loop {
        let end = loop {
            if let Some(at) = held.windows(4).position(|four| four == b"\r\n\r\n") {
                break at;
            }
            if stream.read_buf(&mut held).await.unwrap_or(0) == 0 {
                return;
            }
        };
        let head = String::from_utf8(held.drain(..end + 4).collect()).unwrap();
        let length = head.lines().find_map(|line| {
            line.to_ascii_lowercase().strip_prefix("content-length: ").map(str::to_owned)
        });
        let length: usize = length.map_or(0, |text| text.parse().unwrap());
        while held.len() < length {
            if stream.read_buf(&mut held).await.unwrap_or(0) == 0 {
                return;
            }
        }
        let body = held.drain(..length).collect();
        let line = head.lines().next().unwrap().to_owned();
        shared.requests.lock().unwrap().push(Request { line, head, body });
        let answer = shared.answer.lock().unwrap().clone();
        if stream.write_all(answer.as_bytes()).await.is_err() || answer != Receiver::OK {
            return;
        }
    }
}
