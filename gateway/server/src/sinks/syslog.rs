//! Syslog: messages of RFC 5424 over UDP (RFC 5426), counted over TCP (RFC 6587 §3.4.1) and TLS
//! (RFC 5425), and over a local socket.

use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, Instant};

use futures_util::FutureExt as _;
use hub_audit::relay::{Batch, Sink, SinkError, Work};
use rustls_pki_types::ServerName;
use tokio::io::{AsyncRead, AsyncReadExt as _, AsyncWrite, AsyncWriteExt as _};
use tokio::net::{TcpStream, UdpSocket, UnixDatagram, UnixStream};
use tokio_rustls::TlsConnector;

use super::lines::Lines;
use crate::config::SyslogAddress;

mod message;
mod sent;

use message::Messages;
use sent::{End, Sent};

/// How long a receiver may take to close after us.
const LAST: Duration = Duration::from_millis(800);

/// A syslog receiver.
pub(super) struct Syslog {
    messages: Messages,
    address: SyslogAddress,
    max_message: usize,
    ca_file: Option<std::path::PathBuf>,
    timeout: Duration,
    open: Option<Open>,
    sent: Sent,
    /// The sequence after the last entry written.
    next: u64,
    /// Where to go back to, once there is a connection again.
    back: Option<u64>,
}

/// A stream of any kind.
trait Stream: AsyncRead + AsyncWrite + Send + Sync + Unpin {}

impl<T: AsyncRead + AsyncWrite + Send + Sync + Unpin> Stream for T {}

enum Open {
    Stream(Box<dyn Stream>),
    Udp(UdpSocket),
    Local(UnixDatagram),
}

fn failed(error: &dyn std::fmt::Display) -> SinkError {
    SinkError(error.to_string())
}

impl Syslog {
    pub(super) fn new(
        address: SyslogAddress,
        facility: u8,
        max_message: usize,
        ca_file: Option<std::path::PathBuf>,
        timeout: Duration,
        hub: &str,
        lines: Lines,
    ) -> Self {
        let system = rustix::system::uname();
        let host = system.nodename().to_string_lossy();
        Self {
            messages: Messages::new(facility, &host, std::process::id(), hub, lines),
            address,
            max_message,
            ca_file,
            timeout,
            open: None,
            sent: Sent::new(timeout * 2),
            next: 0,
            back: None,
        }
    }

    async fn connect(&self) -> Result<Open, SinkError> {
        match &self.address {
            SyslogAddress::Udp(host, port) => {
                let mut found = tokio::net::lookup_host((host.as_str(), *port)).await;
                let to = found.as_mut().ok().and_then(Iterator::next);
                let to = to.ok_or_else(|| SinkError(format!("`{host}` is not found")))?;
                let any = if to.is_ipv4() { "0.0.0.0:0" } else { "[::]:0" };
                let socket = UdpSocket::bind(any).await.map_err(|error| failed(&error))?;
                socket.connect(to).await.map_err(|error| failed(&error))?;
                Ok(Open::Udp(socket))
            }
            SyslogAddress::Tcp(host, port) => {
                Ok(Open::Stream(Box::new(self.tcp(host, *port).await?)))
            }
            SyslogAddress::Tls(host, port) => {
                let config = crate::jwks::fetch::config(self.ca_file.as_deref()).await;
                let config = config.map_err(|error| failed(&error))?;
                let name = ServerName::try_from(host.clone()).map_err(|error| failed(&error))?;
                let tcp = self.tcp(host, *port).await?;
                let tls = TlsConnector::from(Arc::new(config)).connect(name, tcp).await;
                Ok(Open::Stream(Box::new(tls.map_err(|error| failed(&error))?)))
            }
            SyslogAddress::Unix(path) => local(path).await.map_err(|error| failed(&error)),
        }
    }

    async fn tcp(&self, host: &str, port: u16) -> Result<TcpStream, SinkError> {
        let stream = TcpStream::connect((host, port)).await.map_err(|error| failed(&error))?;
        // What is not acknowledged in time breaks the connection, so that it is noticed and what
        // may be lost is known; a peer that is gone is noticed while nothing is sent.
        let millis = u32::try_from(self.timeout.as_millis()).unwrap_or(u32::MAX);
        let set = rustix::net::sockopt::set_tcp_user_timeout(&stream, millis)
            .and_then(|()| rustix::net::sockopt::set_socket_keepalive(&stream, true))
            .and_then(|()| rustix::net::sockopt::set_tcp_keepidle(&stream, self.timeout));
        set.map_err(|error| failed(&error))?;
        let _ = stream.set_nodelay(true);
        Ok(stream)
    }

    /// Notes that a connection is gone, and with it perhaps what was written last.
    fn lost(&mut self, end: End) {
        self.open = None;
        let back = self.sent.lost(Instant::now(), end, self.next);
        self.back = [self.back, back].into_iter().flatten().min();
    }

    async fn deliver(&mut self, batch: &Batch) -> Result<u64, SinkError> {
        let mut open = match self.open.take() {
            Some(mut open) => {
                if let Some(end) = ended(&mut open) {
                    self.lost(end);
                    self.connect().await?
                } else {
                    open
                }
            }
            None => self.connect().await?,
        };
        if let Some(back) = self.back.take().filter(|back| *back < batch.from()) {
            self.open = Some(open);
            return Ok(back);
        }
        let (stream, limit) = match &mut open {
            Open::Stream(stream) => (stream, usize::MAX),
            Open::Udp(_) => return self.datagrams(open, batch, self.max_message).await,
            // A local datagram may be as large as its buffer; entries are far below that.
            Open::Local(_) => return self.datagrams(open, batch, usize::MAX).await,
        };
        let (mut frames, mut one) = (Vec::new(), Vec::new());
        for entry in batch.entries() {
            self.render(&entry, limit, &mut one);
            frames.extend_from_slice(format!("{} ", one.len()).as_bytes());
            frames.extend_from_slice(&one);
        }
        // INVARIANT: noted before, and the connection taken out: a write that is given up in the
        // middle of a message leaves neither behind as if all was well.
        self.sent.note(Instant::now(), batch.from(), frames.len());
        self.next = self.next.max(batch.end());
        let written = async {
            stream.write_all(&frames).await?;
            stream.flush().await
        };
        match written.await {
            Ok(()) => {
                self.open = Some(open);
                Ok(batch.end())
            }
            Err(error) => {
                self.lost(End::Broken);
                Err(failed(&error))
            }
        }
    }

    async fn datagrams(
        &mut self,
        open: Open,
        batch: &Batch,
        limit: usize,
    ) -> Result<u64, SinkError> {
        let mut one = Vec::new();
        for entry in batch.entries() {
            self.render(&entry, limit, &mut one);
            let sent = match &open {
                Open::Udp(socket) => socket.send(&one).await,
                Open::Local(socket) => socket.send(&one).await,
                Open::Stream(_) => Err(std::io::Error::other("no datagram socket")),
            };
            match sent {
                Ok(_) => {}
                Err(error) if entry.seq == batch.from() => return Err(failed(&error)),
                Err(_) => return Ok(entry.seq),
            }
        }
        self.open = Some(open);
        Ok(batch.end())
    }

    fn render(&self, entry: &hub_audit::relay::Entry<'_>, limit: usize, out: &mut Vec<u8>) {
        out.clear();
        self.messages.push(entry, out);
        if out.len() > limit {
            out.clear();
            self.messages.push_stub(entry, out);
            out.truncate(limit);
        }
    }
}

async fn local(path: &Path) -> std::io::Result<Open> {
    let socket = UnixDatagram::unbound()?;
    match socket.connect(path) {
        Ok(()) => Ok(Open::Local(socket)),
        // EPROTOTYPE: it is a stream.
        Err(error) if error.raw_os_error() == Some(rustix::io::Errno::PROTOTYPE.raw_os_error()) => {
            Ok(Open::Stream(Box::new(UnixStream::connect(path).await?)))
        }
        Err(error) => Err(error),
    }
}

/// Whether a receiver has gone away. What it says is passed over.
fn ended(open: &mut Open) -> Option<End> {
    let Open::Stream(stream) = open else { return None };
    let mut said = [0; 512];
    for _ in 0..16 {
        match stream.read(&mut said).now_or_never() {
            None => return None,
            Some(Ok(0)) => return Some(End::Closed),
            Some(Ok(_)) => {}
            Some(Err(_)) => return Some(End::Broken),
        }
    }
    None
}

impl Sink for Syslog {
    fn accept<'a>(&'a mut self, batch: &'a Batch) -> Work<'a, Result<u64, SinkError>> {
        Box::pin(async move {
            if self.open.is_none() && self.sent.safe().is_some() {
                // A call was given up in the middle.
                self.lost(End::Broken);
            }
            self.deliver(batch).await
        })
    }

    fn check(&mut self) -> Work<'_, Result<Option<u64>, SinkError>> {
        Box::pin(async move {
            if let Some(end) = self.open.as_mut().and_then(ended) {
                self.lost(end);
            }
            Ok(self.back.take())
        })
    }

    fn safe(&self) -> Option<u64> {
        [self.back, self.sent.safe()].into_iter().flatten().min()
    }

    /// Closes its side and waits for the receiver to close, too: then everything was read.
    fn finish(&mut self) -> Work<'_, ()> {
        Box::pin(async move {
            let Some(Open::Stream(mut stream)) = self.open.take() else { return };
            let mut said = [0; 512];
            let closed = async {
                stream.shutdown().await?;
                while stream.read(&mut said).await? > 0 {}
                Ok::<_, std::io::Error>(())
            };
            if matches!(tokio::time::timeout(LAST, closed).await, Ok(Ok(()))) {
                self.sent.forget();
            }
        })
    }
}
