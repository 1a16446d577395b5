//! A client's connection: TCP, TLS for `wss://`, and the handshake.

use std::io;

use tokio::net::TcpStream;
use tokio_tungstenite::{
    client_async_with_config,
    tungstenite::{Error, error::UrlError, handshake::client::Request},
};

use crate::{HeadFirst, Socket};

/// What a client's session runs over.
#[cfg(feature = "tls")]
pub type Stream = tokio_util::either::Either<TcpStream, tokio_rustls::client::TlsStream<TcpStream>>;
/// What a client's session runs over.
#[cfg(not(feature = "tls"))]
pub type Stream = TcpStream;

/// Connects to where `request` leads; the session takes messages of at most `bytes_max`.
///
/// # Errors
/// `Http` when the server answers otherwise than by switching; what went wrong else.
pub async fn connect(request: Request, bytes_max: usize) -> Result<Socket<Stream>, Error> {
    let uri = request.uri();
    let host = uri.host().ok_or(Error::Url(UrlError::NoHostName))?;
    let is_secure = match uri.scheme_str() {
        Some("ws") => false,
        Some("wss") => true,
        _ => return Err(Error::Url(UrlError::UnsupportedUrlScheme)),
    };
    let port = uri.port_u16().unwrap_or(if is_secure { 443 } else { 80 });
    // An IPv6 address stands in brackets.
    let host = host
        .trim_start_matches('[')
        .trim_end_matches(']')
        .to_owned();
    let tcp = TcpStream::connect((host.as_str(), port)).await?;
    // Small frames must not wait for the acknowledgement of earlier ones.
    tcp.set_nodelay(true)?;
    let stream = HeadFirst::new(secured(tcp, host, is_secure).await?);
    let (socket, _) = client_async_with_config(request, stream, None).await?;
    Ok(Socket::client(socket.into_inner(), bytes_max))
}

#[cfg(feature = "tls")]
async fn secured(tcp: TcpStream, host: String, is_secure: bool) -> io::Result<Stream> {
    use std::sync::Arc;

    use tokio_rustls::{
        TlsConnector,
        rustls::{ClientConfig, RootCertStore, crypto::ring, pki_types::ServerName},
    };

    if !is_secure {
        return Ok(Stream::Left(tcp));
    }
    let roots: RootCertStore = webpki_roots::TLS_SERVER_ROOTS.iter().cloned().collect();
    let config = ClientConfig::builder_with_provider(Arc::new(ring::default_provider()))
        .with_safe_default_protocol_versions()
        .map_err(io::Error::other)?
        .with_root_certificates(roots)
        .with_no_client_auth();
    let name = ServerName::try_from(host).map_err(io::Error::other)?;
    let connector = TlsConnector::from(Arc::new(config));
    Ok(Stream::Right(connector.connect(name, tcp).await?))
}

#[cfg(not(feature = "tls"))]
#[expect(
    clippy::unused_async,
    reason = "with TLS there is something to wait for"
)]
async fn secured(tcp: TcpStream, _: String, is_secure: bool) -> io::Result<Stream> {
    if is_secure {
        return Err(io::Error::other("`wss` is not built in; use `ws`"));
    }
    Ok(tcp)
}
