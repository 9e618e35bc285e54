//! One GET over TLS, as little of HTTP as that takes: no redirects, no proxies, no cookies, no
//! compression, a bounded answer.

use std::path::Path;
use std::sync::Arc;

use bytes::Bytes;
use http::header::{ACCEPT, CONNECTION, HOST, USER_AGENT};
use http::{Request, StatusCode, Uri};
use http_body_util::{BodyExt as _, Empty, Limited};
use hub_auth::jwt::{KeySetError, MAX_SET};
use hyper_util::rt::TokioIo;
use rustls_pki_types::pem::PemObject as _;
use rustls_pki_types::{CertificateDer, ServerName};
use tokio::net::TcpStream;
use tokio_rustls::TlsConnector;

use super::Failure;

const AGENT: &str = concat!("cipher-hub/", env!("CARGO_PKG_VERSION"));

/// What lies at the URL.
pub(super) async fn get(url: &Uri, ca_file: Option<&Path>) -> Result<Vec<u8>, Failure> {
    let unreachable = |error: &dyn std::fmt::Display| Failure::Unreachable(error.to_string());
    let authority = url.authority().ok_or_else(|| unreachable(&"the URL has no host"))?;
    let host = authority.host().trim_start_matches('[').trim_end_matches(']').to_owned();
    let port = authority.port_u16().unwrap_or(443);
    let name = ServerName::try_from(host.clone()).map_err(|error| unreachable(&error))?;
    let config = config(ca_file).await?;
    let tcp = TcpStream::connect((host.as_str(), port)).await.map_err(|e| unreachable(&e))?;
    let tls = TlsConnector::from(Arc::new(config)).connect(name, tcp).await;
    let tls = tls.map_err(|error| unreachable(&error))?;
    let mut builder = hyper::client::conn::http1::Builder::new();
    builder.max_buf_size(64 * 1024);
    let (mut sender, connection) =
        builder.handshake(TokioIo::new(tls)).await.map_err(|error| unreachable(&error))?;
    // Ends with this function, also when that is given up.
    let mut driver = tokio::task::JoinSet::new();
    driver.spawn(async move {
        let _ = connection.await;
    });
    let request = Request::get(url.path_and_query().map_or("/", |path| path.as_str()))
        .header(HOST, authority.as_str())
        .header(ACCEPT, "application/jwk-set+json, application/json")
        .header(USER_AGENT, AGENT)
        .header(CONNECTION, "close")
        .body(Empty::<Bytes>::new())
        .map_err(|error| unreachable(&error))?;
    let response = sender.send_request(request).await.map_err(|error| unreachable(&error))?;
    if response.status() != StatusCode::OK {
        return Err(Failure::Status(response.status().as_u16()));
    }
    let body = Limited::new(response.into_body(), MAX_SET).collect().await.map_err(|error| {
        if error.is::<http_body_util::LengthLimitError>() {
            return Failure::Form(KeySetError::TooLong);
        }
        Failure::Unreachable(error.to_string())
    })?;
    Ok(body.to_bytes().to_vec())
}

/// Whom to trust. Read each time: certificates are replaced while the hub runs.
pub(crate) async fn config(ca_file: Option<&Path>) -> Result<rustls::ClientConfig, Failure> {
    let owned = ca_file.map(Path::to_owned);
    let roots = tokio::task::spawn_blocking(move || roots(owned.as_deref())).await;
    let roots = roots.map_err(|error| Failure::Unreachable(error.to_string()))??;
    let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
    let config = rustls::ClientConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .map_err(|error| Failure::Unreachable(error.to_string()))?;
    Ok(config.with_root_certificates(roots).with_no_client_auth())
}

fn roots(ca_file: Option<&Path>) -> Result<rustls::RootCertStore, Failure> {
    let mut roots = rustls::RootCertStore::empty();
    let Some(path) = ca_file else {
        roots.add_parsable_certificates(rustls_native_certs::load_native_certs().certs);
        return match roots.is_empty() {
            true => Err(Failure::Unreachable("this machine trusts no authority".to_owned())),
            false => Ok(roots),
        };
    };
    let facts = std::fs::metadata(path).map_err(|error| super::unreadable(path, &error))?;
    super::protected(path, &facts)?;
    let pem = std::fs::read(path).map_err(|error| super::unreadable(path, &error))?;
    let bad = || Failure::Unreachable(format!("`{}` holds no PEM certificate", path.display()));
    for certificate in CertificateDer::pem_slice_iter(&pem) {
        let certificate = certificate.map_err(|_| bad())?;
        roots.add(certificate).map_err(|error| Failure::Unreachable(error.to_string()))?;
    }
    if roots.is_empty() { Err(bad()) } else { Ok(roots) }
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt as _;

    use super::*;

    #[test]
    fn authorities_everybody_can_write_are_refused() {
        let made = rcgen::generate_simple_self_signed(["localhost".to_owned()]).unwrap();
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("ca");
        std::fs::write(&path, made.cert.pem()).unwrap();
        for (mode, taken) in [(0o644, true), (0o646, false), (0o664, true)] {
            std::fs::set_permissions(&path, std::fs::Permissions::from_mode(mode)).unwrap();
            assert_eq!(roots(Some(&path)).is_ok(), taken, "{mode:o}");
        }
    }
}
