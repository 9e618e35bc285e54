//! One long request from memory, and its answer thrown away, with as little work as can be: by one
//! task that sleeps only when it can neither send nor receive, and most of the answer is counted by
//! `MSG_TRUNC` and not copied. Who receives more dearly measures itself. (`sendfile` would spare a
//! copy here and cost the server more, which then reads pages of 4 KiB.)

use std::io;
use std::net::SocketAddr;
use std::time::{Duration, Instant};

use rustix::net::{RecvFlags, recv};
use tokio::io::Interest;
use tokio::net::TcpStream;

/// How much is sent or thrown away by one system call.
const STEP: usize = 256 * 1024;
/// The most bytes of one line of head or framing.
const LINE: usize = 8 * 1024;
/// No answer lasts this long without a byte.
const PATIENCE: Duration = Duration::from_secs(60);

/// What came back.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Poured {
    /// Bytes of the answer's body, framing not counted.
    pub(super) received: u64,
    pub(super) elapsed: Duration,
}

/// Sends this many bytes behind a head that announces them, and takes the answer in.
pub(super) async fn pour(address: SocketAddr, head: &[u8], length: u64) -> io::Result<Poured> {
    let stream = TcpStream::connect(address).await?;
    stream.set_nodelay(true)?;
    let mut request = Request { head, body: vec![7; STEP], left: length };
    let mut answer = Answer::new();
    let started = Instant::now();
    while answer.at != At::End {
        let sent = progress(request.send(&stream))?;
        let received = progress(answer.receive(&stream))?;
        if !sent && !received {
            let waits = if request.is_sent() {
                Interest::READABLE
            } else {
                Interest::READABLE | Interest::WRITABLE
            };
            tokio::time::timeout(PATIENCE, stream.ready(waits)).await??;
        }
    }
    if !request.is_sent() {
        return Err(broken("the answer came before the request was sent"));
    }
    Ok(Poured { received: answer.received, elapsed: started.elapsed() })
}

/// Whether something was done, or would block.
fn progress(outcome: io::Result<bool>) -> io::Result<bool> {
    match outcome {
        Err(error) if error.kind() == io::ErrorKind::WouldBlock => Ok(false),
        outcome => outcome,
    }
}

/// A request that is being sent.
struct Request<'a> {
    head: &'a [u8],
    body: Vec<u8>,
    left: u64,
}

impl Request<'_> {
    const fn is_sent(&self) -> bool {
        self.head.is_empty() && self.left == 0
    }

    fn send(&mut self, stream: &TcpStream) -> io::Result<bool> {
        if !self.head.is_empty() {
            let sent = stream.try_write(self.head)?;
            self.head = self.head.get(sent..).unwrap_or_default();
        } else if self.left > 0 {
            let step = usize::try_from(self.left).unwrap_or(STEP).min(STEP);
            let sent = stream.try_write(self.body.get(..step).unwrap_or_default())?;
            self.left = self.left.saturating_sub(u64::try_from(sent).unwrap_or(self.left));
        } else {
            return Ok(false);
        }
        Ok(true)
    }
}

/// Where in an answer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum At {
    Status,
    Fields,
    Size,
    /// In data of this many more bytes.
    Data(u64),
    DataEnd,
    /// In front of the line that ends the last chunk.
    LastLine,
    End,
}

/// An answer that is being taken in.
struct Answer {
    at: At,
    length: Option<u64>,
    chunked: bool,
    received: u64,
    /// What was read and not yet looked at.
    seen: Vec<u8>,
    /// Never written to: the kernel only wants to know where it would go.
    nowhere: Vec<u8>,
}

impl Answer {
    fn new() -> Self {
        Self {
            at: At::Status,
            length: None,
            chunked: false,
            received: 0,
            seen: Vec::new(),
            nowhere: vec![0; STEP],
        }
    }

    /// Does one step; false when there is nothing more to do.
    fn receive(&mut self, stream: &TcpStream) -> io::Result<bool> {
        match self.at {
            At::End => return Ok(false),
            At::Data(left) => {
                let gone = self.skip(stream, left)?;
                self.received = self.received.saturating_add(gone);
                self.at = match left.saturating_sub(gone) {
                    0 if self.chunked => At::DataEnd,
                    0 => At::End,
                    left => At::Data(left),
                };
            }
            _ => {
                let line = self.line(stream)?;
                self.at = self.after(&line)?;
            }
        }
        Ok(true)
    }

    /// What follows a line.
    fn after(&mut self, line: &str) -> io::Result<At> {
        match self.at {
            At::Status if line.starts_with("HTTP/1.1 200 ") => Ok(At::Fields),
            At::Fields if line.is_empty() => match (self.chunked, self.length) {
                (true, _) => Ok(At::Size),
                (false, Some(length)) => Ok(At::Data(length)),
                (false, None) => Err(broken("an answer without a length")),
            },
            At::Fields => {
                let line = line.to_ascii_lowercase();
                match line.split_once(':') {
                    Some(("content-length", value)) => self.length = value.trim().parse().ok(),
                    Some(("transfer-encoding", value)) => self.chunked = value.trim() == "chunked",
                    _ => {}
                }
                Ok(At::Fields)
            }
            At::Size => match u64::from_str_radix(line, 16) {
                Ok(0) => Ok(At::LastLine),
                Ok(size) => Ok(At::Data(size)),
                Err(_) => Err(broken("no chunk")),
            },
            At::DataEnd if line.is_empty() => Ok(At::Size),
            At::LastLine if line.is_empty() => Ok(At::End),
            _ => Err(broken(line)),
        }
    }

    /// The next line, without its end. Little is read, so that little is copied.
    fn line(&mut self, stream: &TcpStream) -> io::Result<String> {
        loop {
            if let Some(end) = self.seen.windows(2).position(|two| two == b"\r\n") {
                let rest = self.seen.split_off(end + 2);
                let mut line = std::mem::replace(&mut self.seen, rest);
                line.truncate(end);
                return String::from_utf8(line).map_err(|_| broken("no text"));
            }
            if self.seen.len() > LINE {
                return Err(broken("a line without end"));
            }
            let mut piece = [0; 16];
            let read = stream.try_read(&mut piece)?;
            if read == 0 {
                return Err(io::ErrorKind::UnexpectedEof.into());
            }
            self.seen.extend_from_slice(piece.get(..read).unwrap_or_default());
        }
    }

    /// Throws away this many bytes or fewer; gives how many.
    fn skip(&mut self, stream: &TcpStream, count: u64) -> io::Result<u64> {
        let step = usize::try_from(count).unwrap_or(STEP).min(STEP);
        let gone = if step > 0 && self.seen.is_empty() {
            let room = self.nowhere.get_mut(..step).unwrap_or_default();
            let received = stream.try_io(Interest::READABLE, || {
                Ok(recv(stream, room, RecvFlags::TRUNC | RecvFlags::DONTWAIT)?.1)
            })?;
            if received == 0 {
                return Err(io::ErrorKind::UnexpectedEof.into());
            }
            received
        } else {
            let seen = step.min(self.seen.len());
            self.seen.drain(..seen);
            seen
        };
        Ok(u64::try_from(gone).unwrap_or(count))
    }
}

fn broken(what: &str) -> io::Error {
    io::Error::new(io::ErrorKind::InvalidData, what)
}

#[cfg(test)]
mod tests {
    use std::io::{Read as _, Write as _};

    use super::*;

    async fn answered(answer: &'static [u8]) -> io::Result<(u64, Vec<u8>)> {
        let listener = std::net::TcpListener::bind(("127.0.0.1", 0)).unwrap();
        let address = listener.local_addr().unwrap();
        let server = std::thread::spawn(move || {
            let (mut stream, _) = listener.accept().unwrap();
            let mut request = vec![0; 8];
            stream.read_exact(&mut request).unwrap();
            stream.write_all(answer).unwrap();
            request
        });
        let poured = pour(address, b"head", 4).await;
        let request = server.join().unwrap();
        poured.map(|poured| (poured.received, request))
    }

    #[tokio::test]
    async fn an_answer_is_counted_and_must_be_whole() {
        let chunked = b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n\
            3\r\nabc\r\n14\r\n01234567890123456789\r\n0\r\n\r\n";
        assert_eq!(answered(chunked).await.unwrap(), (23, b"head\x07\x07\x07\x07".to_vec()));
        let cut = b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n";
        assert!(answered(cut).await.is_err());
        let sized = b"HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nabcde";
        assert_eq!(answered(sized).await.unwrap().0, 5);
        assert!(answered(b"HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nabc").await.is_err());
        assert!(answered(b"HTTP/1.1 403 No\r\nContent-Length: 0\r\n\r\n").await.is_err());
    }
}
