//! Connections: TCP, TLS over TCP, or a Unix socket, as one kind of stream for hyper's pool.

use std::future::Future;
use std::io;
use std::path::{Path, PathBuf};
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;

use hyper::rt::{Read, ReadBufCursor, Write};
use hyper_util::client::legacy::connect::{Connected, Connection};
use hyper_util::rt::TokioIo;
use rustls_pki_types::pem::PemObject as _;
use rustls_pki_types::{CertificateDer, ServerName};
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::{TcpStream, UnixStream};
use tokio_rustls::TlsConnector;

use crate::address::bare;
use crate::own_certificate::OwnCertificate;
use crate::{Address, Error};

/// Opens connections to one hub, whatever URI the pool asks for.
#[derive(Clone)]
pub(crate) struct Connector {
    address: Arc<Address>,
    tls: Option<TlsConnector>,
    within: Duration,
}

impl Connector {
    /// `ca_file` is trusted in addition to the machine's authorities.
    pub(crate) fn new(
        address: Arc<Address>,
        ca_file: Option<&Path>,
        certificate: Option<(PathBuf, PathBuf)>,
        within: Duration,
    ) -> Result<Self, Error> {
        let tls = match *address {
            Address::Https { .. } => {
                Some(TlsConnector::from(Arc::new(tls_config(ca_file, certificate)?)))
            }
            Address::Http { .. } | Address::Unix(_) => None,
        };
        Ok(Self { address, tls, within })
    }

    async fn connect(self) -> io::Result<Stream> {
        match &*self.address {
            Address::Unix(path) => Ok(Stream::plain(UnixStream::connect(path).await?)),
            Address::Http { host, port } => Ok(Stream::plain(tcp(host, *port).await?)),
            Address::Https { host, port } => {
                let connector =
                    self.tls.ok_or_else(|| io::Error::other("TLS has not been set up"))?;
                let name = ServerName::try_from(bare(host).to_owned())
                    .map_err(|_| io::Error::other("the host has no form a certificate can name"))?;
                let stream = connector.connect(name, tcp(host, *port).await?).await?;
                let http2 = stream.get_ref().1.alpn_protocol() == Some(b"h2");
                Ok(Stream { io: TokioIo::new(Box::new(stream)), http2 })
            }
        }
    }
}

async fn tcp(host: &str, port: u16) -> io::Result<TcpStream> {
    let stream = TcpStream::connect((bare(host), port)).await?;
    stream.set_nodelay(true)?;
    Ok(stream)
}

fn tls_config(
    ca_file: Option<&Path>,
    certificate: Option<(PathBuf, PathBuf)>,
) -> Result<rustls::ClientConfig, Error> {
    let mut roots = rustls::RootCertStore::empty();
    // A damaged certificate among the machine's is the machine's affair; having none at all is
    // ours, unless a file was given.
    roots.add_parsable_certificates(rustls_native_certs::load_native_certs().certs);
    if let Some(path) = ca_file {
        let unreadable = |source| Error::File { path: path.to_owned(), source };
        let pem = std::fs::read(path).map_err(unreadable)?;
        let not_pem = || Error::Tls(format!("`{}` holds no PEM certificate", path.display()));
        let certificates: Vec<_> = CertificateDer::pem_slice_iter(&pem)
            .collect::<Result<_, _>>()
            .map_err(|_| not_pem())?;
        if certificates.is_empty() {
            return Err(not_pem());
        }
        for certificate in certificates {
            roots.add(certificate).map_err(|error| Error::Tls(error.to_string()))?;
        }
    }
    if roots.is_empty() {
        return Err(Error::Tls("this machine trusts no authority, and none was given".to_owned()));
    }
    let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
    let builder = rustls::ClientConfig::builder_with_provider(Arc::clone(&provider))
        .with_safe_default_protocol_versions()
        .map_err(|error| Error::Tls(error.to_string()))?
        .with_root_certificates(roots);
    let mut config = match certificate {
        None => builder.with_no_client_auth(),
        Some((cert, key)) => {
            let shown = OwnCertificate::read(cert, key, provider)?;
            builder.with_client_cert_resolver(Arc::new(shown))
        }
    };
    config.alpn_protocols = vec![b"h2".to_vec(), b"http/1.1".to_vec()];
    Ok(config)
}

impl tower_service::Service<http::Uri> for Connector {
    type Response = Stream;
    type Error = io::Error;
    type Future = Pin<Box<dyn Future<Output = io::Result<Stream>> + Send>>;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, _: http::Uri) -> Self::Future {
        let connector = self.clone();
        Box::pin(async move {
            let within = connector.within;
            tokio::time::timeout(within, connector.connect())
                .await
                .unwrap_or_else(|_| Err(io::ErrorKind::TimedOut.into()))
        })
    }
}

trait Duplex: AsyncRead + AsyncWrite + Send + Unpin {}
impl<T: AsyncRead + AsyncWrite + Send + Unpin> Duplex for T {}

/// An open connection.
pub(crate) struct Stream {
    io: TokioIo<Box<dyn Duplex>>,
    http2: bool,
}

impl Stream {
    fn plain(io: impl Duplex + 'static) -> Self {
        Self { io: TokioIo::new(Box::new(io)), http2: false }
    }
}

impl Connection for Stream {
    fn connected(&self) -> Connected {
        if self.http2 { Connected::new().negotiated_h2() } else { Connected::new() }
    }
}

impl Read for Stream {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buffer: ReadBufCursor<'_>,
    ) -> Poll<io::Result<()>> {
        Pin::new(&mut self.io).poll_read(cx, buffer)
    }
}

impl Write for Stream {
    fn poll_write(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.io).poll_write(cx, bytes)
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.io).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.io).poll_shutdown(cx)
    }

    fn is_write_vectored(&self) -> bool {
        self.io.is_write_vectored()
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        slices: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.io).poll_write_vectored(cx, slices)
    }
}
