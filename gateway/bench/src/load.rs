//! The load generator: HTTP/1.1 by hand over keep-alive connections, the same for every target.
//!
//! Requests are bytes made beforehand; of an answer only status and length are looked at, so that
//! little is spent here that is not spent by who is measured.

use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;
use tokio::task::JoinSet;

use super::failed;
use hub_cli::Failure;

/// An answer takes this long at most: longer than any request may take in the gateway.
const PATIENCE: Duration = Duration::from_secs(40);

/// Whom to ask, and what: each worker sends the next of `requests`, round and round.
#[derive(Clone)]
pub(super) struct Load {
    pub(super) address: SocketAddr,
    pub(super) requests: Arc<[Vec<u8>]>,
}

/// When a turn ends.
#[derive(Clone, Copy)]
pub(super) enum End {
    /// After a time.
    After(Duration),
    /// When each request has been sent once.
    Once,
}

/// What a turn came to.
#[derive(Debug, Default)]
pub(super) struct Turn {
    /// How long each answer took, in nanoseconds.
    pub(super) latencies: Vec<u32>,
    pub(super) elapsed: Duration,
}

impl Turn {
    pub(super) fn per_second(&self) -> f64 {
        let count = u32::try_from(self.latencies.len()).unwrap_or(u32::MAX);
        f64::from(count) / self.elapsed.as_secs_f64().max(f64::EPSILON)
    }
}

/// Asks over many connections at once. One answer that is not 2xx fails the turn.
pub(super) async fn turn(load: &Load, connections: usize, end: End) -> Result<Turn, Failure> {
    let mut wires = Vec::with_capacity(connections);
    for _ in 0..connections {
        wires.push(Wire::connect(load.address).await?);
    }
    let next = Arc::new(AtomicUsize::new(0));
    let mut workers = JoinSet::new();
    let started = Instant::now();
    for mut wire in wires {
        let (requests, next) = (Arc::clone(&load.requests), Arc::clone(&next));
        workers.spawn(async move {
            let mut latencies = Vec::with_capacity(4096);
            loop {
                let turn = next.fetch_add(1, Ordering::Relaxed);
                let index = match end {
                    End::After(_) => turn.checked_rem(requests.len()).unwrap_or(0),
                    End::Once => turn,
                };
                let Some(request) = requests.get(index) else { return Ok(latencies) };
                let sent = Instant::now();
                if matches!(end, End::After(limit) if sent.duration_since(started) >= limit) {
                    return Ok(latencies);
                }
                wire.ask(request).await?;
                latencies.push(u32::try_from(sent.elapsed().as_nanos()).unwrap_or(u32::MAX));
            }
        });
    }
    let mut total = Turn::default();
    while let Some(ended) = workers.join_next().await {
        let latencies: Result<Vec<u32>, Failure> =
            ended.map_err(|error| failed(&format!("the load generator failed: {error}")))?;
        total.latencies.append(&mut latencies?);
    }
    total.elapsed = started.elapsed();
    Ok(total)
}

/// The value below which this part of the sorted values lies.
pub(super) fn quantile(sorted: &[u32], part: f64) -> Duration {
    #[expect(
        clippy::cast_possible_truncation,
        clippy::cast_sign_loss,
        clippy::cast_precision_loss,
        reason = "an index of a slice, between 0 and its length"
    )]
    let index = (sorted.len() as f64 * part) as usize;
    let last = sorted.len().saturating_sub(1);
    Duration::from_nanos(u64::from(sorted.get(index.min(last)).copied().unwrap_or(0)))
}

/// One connection.
pub(super) struct Wire {
    stream: TcpStream,
    buffer: Vec<u8>,
}

/// Where the parts of an answer lie in the buffer.
struct Answer {
    status: u16,
    body: std::ops::Range<usize>,
}

impl Wire {
    pub(super) async fn connect(address: SocketAddr) -> Result<Self, Failure> {
        let open = async {
            let stream = TcpStream::connect(address).await?;
            stream.set_nodelay(true)?;
            Ok::<_, io::Error>(stream)
        };
        let stream = open.await.map_err(|error| failed(&format!("connect {address}: {error}")))?;
        Ok(Self { stream, buffer: Vec::with_capacity(128 * 1024) })
    }

    /// Sends a request and gives the body of its answer, which must be 2xx.
    pub(super) async fn ask(&mut self, request: &[u8]) -> Result<&[u8], Failure> {
        let answered = tokio::time::timeout(PATIENCE, self.exchange(request)).await;
        let answer = match answered {
            Ok(Ok(answer)) => answer,
            Ok(Err(error)) => return Err(failed(&format!("no answer: {error}"))),
            Err(_) => return Err(failed("no answer in time")),
        };
        let body = self.buffer.get(answer.body).unwrap_or_default();
        if (200..300).contains(&answer.status) {
            return Ok(body);
        }
        let body = String::from_utf8_lossy(body);
        Err(failed(&format!("answered {}: {body}", answer.status)))
    }

    /// Sends a request and gives the status of its answer.
    pub(super) async fn status(&mut self, request: &[u8]) -> Result<u16, Failure> {
        match tokio::time::timeout(PATIENCE, self.exchange(request)).await {
            Ok(Ok(answer)) => Ok(answer.status),
            Ok(Err(error)) => Err(failed(&format!("no answer: {error}"))),
            Err(_) => Err(failed("no answer in time")),
        }
    }

    async fn exchange(&mut self, request: &[u8]) -> io::Result<Answer> {
        self.stream.write_all(request).await?;
        self.buffer.clear();
        loop {
            if self.stream.read_buf(&mut self.buffer).await? == 0 {
                return Err(io::ErrorKind::UnexpectedEof.into());
            }
            if let Some(answer) = head(&self.buffer)?
                && answer.body.end <= self.buffer.len()
            {
                return Ok(answer);
            }
        }
    }
}

/// The status and where the body lies, once the head is whole.
fn head(buffer: &[u8]) -> io::Result<Option<Answer>> {
    let Some(end) = buffer.windows(4).position(|four| four == b"\r\n\r\n") else {
        return Ok(None);
    };
    let text = buffer.get(..end).and_then(|head| std::str::from_utf8(head).ok());
    let broken = || io::Error::new(io::ErrorKind::InvalidData, "this is no HTTP/1.1");
    let mut lines = text.ok_or_else(broken)?.split("\r\n");
    let status = lines.next().and_then(|line| line.strip_prefix("HTTP/1.1 "));
    let status = status.and_then(|rest| rest.get(..3)).and_then(|code| code.parse().ok());
    let length = lines.find_map(|line| {
        let (name, value) = line.split_once(':')?;
        name.eq_ignore_ascii_case("content-length").then(|| value.trim().parse::<usize>())
    });
    let length = length.transpose().map_err(|_| broken())?.unwrap_or(0);
    let start = end + 4;
    Ok(Some(Answer { status: status.ok_or_else(broken)?, body: start..start + length }))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_answer_is_read_when_it_is_whole() {
        assert!(head(b"HTTP/1.1 200 OK\r\nContent-Le").unwrap().is_none());
        let answer =
            head(b"HTTP/1.1 201 Created\r\nContent-Length: 3\r\n\r\nabc").unwrap().unwrap();
        assert_eq!((answer.status, answer.body.len()), (201, 3));
        assert!(head(b"HTTP/1.1 204 No Content\r\n\r\n").unwrap().unwrap().body.is_empty());
        assert!(head(b"SSH-2.0\r\n\r\n").is_err());
        assert!(head(b"HTTP/1.1 200 OK\r\ncontent-length: x\r\n\r\n").is_err());
    }

    #[test]
    fn quantiles_stay_within() {
        let values: Vec<u32> = (1..=100).collect();
        assert_eq!(quantile(&values, 0.5), Duration::from_nanos(51));
        assert_eq!(quantile(&values, 0.99), Duration::from_nanos(100));
        assert_eq!(quantile(&values, 1.0), Duration::from_nanos(100));
        assert_eq!(quantile(&[], 0.5), Duration::ZERO);
    }
}
