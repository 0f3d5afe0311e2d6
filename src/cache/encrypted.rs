//! How a server is spoken to by TLS.

use std::io;
use std::sync::{Arc, OnceLock};

use rustls::ClientConfig;
use rustls::pki_types::ServerName;
use tokio::net::TcpStream;
use tokio_rustls::TlsConnector;
use tokio_rustls::client::TlsStream;

use crate::tls::{self, Keyring, Protocols};
use crate::traffic::{ClientTls, Spot};

/// Redis has no name in the negotiation of protocols.
const PROTOCOLS: Protocols = Protocols { server: &[], client: &[] };

/// Who is believed. Copies share what was made once.
#[derive(Clone, Debug, Default)]
pub struct Encrypted {
    settings: Arc<ClientTls>,
    config: Arc<OnceLock<Result<Arc<ClientConfig>, String>>>,
}

impl PartialEq for Encrypted {
    fn eq(&self, other: &Self) -> bool {
        self.settings == other.settings
    }
}

impl Encrypted {
    /// By `settings`.
    pub fn new(settings: Arc<ClientTls>) -> Self {
        Self { settings, config: Arc::default() }
    }

    /// What is believed.
    pub const fn settings(&self) -> &Arc<ClientTls> {
        &self.settings
    }

    /// Begins to speak TLS at `spot`, over `socket`.
    pub async fn begin(&self, spot: &Spot, socket: TcpStream) -> io::Result<TlsStream<TcpStream>> {
        let make = || Keyring::new(PROTOCOLS)?.client(&self.settings, PROTOCOLS.client);
        let config = self.config.get_or_init(|| make().map_err(|error| error.to_string()));
        let config = config.as_ref().map_err(|error| io::Error::other(error.clone()))?;
        let name = self.name(spot).ok_or_else(|| io::Error::other("it has no name to verify"))?;
        TlsConnector::from(Arc::clone(config)).connect(name, socket).await.map_err(|error| {
            let broken = || format!("it broke off the TLS handshake: {error}");
            let sentence = tls::explain(&error, &spot.to_string()).unwrap_or_else(broken);
            io::Error::new(error.kind(), sentence)
        })
    }

    fn name(&self, spot: &Spot) -> Option<ServerName<'static>> {
        match (&self.settings.name, spot) {
            (Some(name), _) => ServerName::try_from(name.clone()).ok(),
            (None, Spot::Name(host, _)) => ServerName::try_from(host.clone()).ok(),
            (None, Spot::Socket(address)) => Some(ServerName::from(address.ip())),
            (None, Spot::Unix(_)) => None,
        }
    }
}
