//! TLS 1.3 between nodes, where a node's key is its certificate (PROTOCOL §5.2).
//!
//! Entry type is [`Credentials`]. Both sides show one self-signed certificate around their Ed25519
//! node key and prove that they own it; there is no authority, no name and no expiry to look at.
//! Sessions are never resumed and nothing is sent before the handshake ends: each link proves both
//! keys afresh. Which network a node belongs to is not said here but inside the link.

use std::io;
use std::sync::Arc;

use comm_proto::key::{KeyPair, PublicKey, Signature};
use rcgen::{CertificateParams, DistinguishedName, PKCS_ED25519};
use rustls::client::Resumption;
use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::crypto::{CryptoProvider, aws_lc_rs, verify_tls13_signature};
use rustls::pki_types::{CertificateDer, PrivateKeyDer, PrivatePkcs8KeyDer, ServerName, UnixTime};
use rustls::server::NoServerSessionStorage;
use rustls::server::danger::{ClientCertVerified, ClientCertVerifier};
use rustls::version::TLS13;
use rustls::{
    CertificateError, ClientConfig, DigitallySignedStruct, DistinguishedName as Authority, Error,
    ServerConfig, SignatureScheme,
};
use thiserror::Error as ThisError;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio_rustls::{TlsAcceptor, TlsConnector};
use x509_parser::oid_registry::OID_SIG_ED25519;
use x509_parser::prelude::{FromDer, X509Certificate};
use zeroize::Zeroizing;

use super::blocks::Blocks;
use super::encrypted::{Encrypted, KeyLife};
use super::metered::Metered;
use super::private::PrivateNetwork;
use super::wire::Wire;
use crate::traffic::{Opener, Traffic};

/// What stands before the seed in the PKCS#8 form of an Ed25519 key (RFC 8410).
const PKCS8_PREFIX: &[u8; 16] = b"\x30\x2e\x02\x01\x00\x30\x05\x06\x03\x2b\x65\x70\x04\x22\x04\x20";
/// What stands before the signature in a certificate signed with Ed25519 (RFC 8410): the algorithm
/// and the beginning of a string of 64 bytes. No other way to write the same will do.
const BEFORE_SIGNATURE: &[u8; 10] = b"\x30\x05\x06\x03\x2b\x65\x70\x03\x41\x00";
/// TLS wants a name to check. It is never sent, and no certificate is compared with it.
const NO_NAME: &str = "node.invalid";
/// Refuses whoever reaches a node's port with another protocol in mind.
const ALPN: &[u8] = b"h2";

/// What a node shows and asks for on every link.
#[derive(Debug)]
pub struct Credentials {
    server: Arc<ServerConfig>,
    client: ClientConfig,
    provider: Arc<CryptoProvider>,
    life: KeyLife,
    network: Option<PrivateNetwork>,
    blocks: Blocks,
    traffic: Traffic,
}

/// The node's key cannot be used for TLS.
#[derive(Debug, ThisError)]
pub enum CredentialsError {
    /// The certificate could not be made.
    #[error("no certificate can be made for the node's key: {0}")]
    Certificate(#[from] rcgen::Error),
    /// The TLS library refused it.
    #[error("the node's key cannot be used for TLS: {0}")]
    Tls(#[from] Error),
}

impl Credentials {
    /// The credentials of a node key; the same key always makes the same certificate.
    ///
    /// # Errors
    /// When the TLS library refuses the key.
    pub fn new(key: &KeyPair) -> Result<Self, CredentialsError> {
        let provider = Arc::new(aws_lc_rs::default_provider());
        let secret = pkcs8(key);
        let certificate = self_signed(&secret)?;
        let verifier = Arc::new(NodeVerifier::new(None, &provider));
        let server = server_config(&provider, &verifier, &certificate, &secret)?;
        let client = client_config(&provider, verifier, certificate, &secret)?;
        Ok(Self {
            server: Arc::new(server),
            client,
            provider,
            life: KeyLife::default(),
            network: None,
            blocks: Blocks::default(),
            traffic: Traffic::default(),
        })
    }

    /// The same, with links that say nothing to whoever lacks the key of `network`.
    #[must_use]
    pub fn in_private(mut self, network: PrivateNetwork) -> Self {
        self.network = Some(network);
        self
    }

    /// The same, with nothing to do with those whom `blocks` has.
    #[must_use]
    pub fn without(mut self, blocks: Blocks) -> Self {
        self.blocks = blocks;
        self
    }

    /// The same, with links that count as `traffic` and keep to what is said there.
    #[must_use]
    pub fn within(mut self, traffic: Traffic) -> Self {
        self.traffic = traffic;
        self
    }

    /// What links with them count as.
    pub(super) const fn traffic(&self) -> &Traffic {
        &self.traffic
    }

    /// Whom they are shown to nobody of.
    pub(super) const fn blocks(&self) -> &Blocks {
        &self.blocks
    }

    /// The same, with links that change their keys at other times.
    #[must_use]
    pub const fn with_key_life(mut self, life: KeyLife) -> Self {
        self.life = life;
        self
    }

    /// Takes the handshake of a node that dialled us, and the key it has proved.
    ///
    /// # Errors
    /// When the other side lacks the network's key, speaks no TLS 1.3 or shows no node key; with
    /// `PermissionDenied` when it is blocked.
    pub async fn accept<S>(&self, stream: S) -> io::Result<(Encrypted<Wire<S>>, PublicKey)>
    where
        S: AsyncRead + AsyncWrite + Unpin,
    {
        let stream = Metered::new(stream, &self.traffic, Opener::Other);
        let stream = match &self.network {
            None => Wire::Open(stream),
            Some(network) => Wire::Sealed(Box::new(network.answer(stream).await?)),
        };
        let stream = TlsAcceptor::from(Arc::clone(&self.server)).accept(stream).await?;
        let key = self.allowed(proved_key(stream.get_ref().1.peer_certificates())?)?;
        Ok((Encrypted::new(stream, self.life), key))
    }

    /// Opens a link. With `expected`, only the node of that key will do, and it alone learns who
    /// dials; without, whoever answers, whose key is returned.
    ///
    /// # Errors
    /// When the other side lacks the network's key, speaks no TLS 1.3, shows no node key or another
    /// one; with `PermissionDenied` when it is blocked.
    pub async fn connect<S>(
        &self,
        stream: S,
        expected: Option<PublicKey>,
    ) -> io::Result<(Encrypted<Wire<S>>, PublicKey)>
    where
        S: AsyncRead + AsyncWrite + Unpin,
    {
        let stream = Metered::new(stream, &self.traffic, Opener::Us);
        let stream = match &self.network {
            None => Wire::Open(stream),
            Some(network) => Wire::Sealed(Box::new(network.call(stream, expected).await?)),
        };
        let mut config = self.client.clone();
        let verifier = NodeVerifier::new(expected, &self.provider);
        config.dangerous().set_certificate_verifier(Arc::new(verifier));
        let name = ServerName::try_from(NO_NAME).map_err(io::Error::other)?;
        let stream = TlsConnector::from(Arc::new(config)).connect(name, stream).await?;
        let key = self.allowed(proved_key(stream.get_ref().1.peer_certificates())?)?;
        Ok((Encrypted::new(stream, self.life), key))
    }

    fn allowed(&self, key: PublicKey) -> io::Result<PublicKey> {
        let is_blocked = self.blocks.block_node(&key.address());
        if is_blocked { Err(io::ErrorKind::PermissionDenied.into()) } else { Ok(key) }
    }
}

fn pkcs8(key: &KeyPair) -> Zeroizing<Vec<u8>> {
    Zeroizing::new([&PKCS8_PREFIX[..], &key.expose_seed()[..]].concat())
}

/// Dates and names say nothing: every node of every version makes the same one.
fn self_signed(secret: &[u8]) -> Result<CertificateDer<'static>, rcgen::Error> {
    let secret = PrivatePkcs8KeyDer::from(secret);
    let key = rcgen::KeyPair::from_pkcs8_der_and_sign_algo(&secret, &PKCS_ED25519)?;
    let mut params = CertificateParams::default();
    params.distinguished_name = DistinguishedName::new();
    Ok(params.self_signed(&key)?.into())
}

fn private_key(secret: &[u8]) -> PrivateKeyDer<'static> {
    PrivatePkcs8KeyDer::from(secret.to_vec()).into()
}

fn server_config(
    provider: &Arc<CryptoProvider>,
    verifier: &Arc<NodeVerifier>,
    certificate: &CertificateDer<'static>,
    secret: &[u8],
) -> Result<ServerConfig, Error> {
    let mut config = ServerConfig::builder_with_provider(Arc::clone(provider))
        .with_protocol_versions(&[&TLS13])?
        .with_client_cert_verifier(Arc::clone(verifier) as Arc<dyn ClientCertVerifier>)
        .with_single_cert(vec![certificate.clone()], private_key(secret))?;
    config.alpn_protocols = vec![ALPN.to_vec()];
    config.session_storage = Arc::new(NoServerSessionStorage {});
    config.send_tls13_tickets = 0;
    config.max_early_data_size = 0;
    Ok(config)
}

fn client_config(
    provider: &Arc<CryptoProvider>,
    verifier: Arc<NodeVerifier>,
    certificate: CertificateDer<'static>,
    secret: &[u8],
) -> Result<ClientConfig, Error> {
    let mut config = ClientConfig::builder_with_provider(Arc::clone(provider))
        .with_protocol_versions(&[&TLS13])?
        .dangerous()
        .with_custom_certificate_verifier(verifier)
        .with_client_auth_cert(vec![certificate], private_key(secret))?;
    config.alpn_protocols = vec![ALPN.to_vec()];
    config.resumption = Resumption::disabled();
    config.enable_early_data = false;
    config.enable_sni = false;
    Ok(config)
}

fn proved_key(chain: Option<&[CertificateDer<'_>]>) -> io::Result<PublicKey> {
    let (certificate, rest) = chain
        .and_then(<[_]>::split_first)
        .ok_or_else(|| io::Error::other("the other side showed no certificate"))?;
    key_of(certificate, rest).map_err(io::Error::other)
}

/// The node key in a chain of one self-signed certificate.
fn key_of(
    certificate: &CertificateDer<'_>,
    rest: &[CertificateDer<'_>],
) -> Result<PublicKey, Error> {
    let refused = Error::InvalidCertificate(CertificateError::BadEncoding);
    if !rest.is_empty() {
        return Err(refused);
    }
    parse_key(certificate).ok_or(refused)
}

fn parse_key(bytes: &[u8]) -> Option<PublicKey> {
    let (_, certificate) = X509Certificate::from_der(bytes).ok()?;
    let key = certificate.public_key();
    let (before, signature) = bytes.split_last_chunk()?;
    let signed = certificate.tbs_certificate.as_ref();
    let length = signed.len() + BEFORE_SIGNATURE.len() + Signature::LEN;
    // The library reads more than what DER allows; around what is signed one spelling counts.
    let is_ours = before == [&sequence_head(length)?[..], signed, BEFORE_SIGNATURE].concat()
        && certificate.issuer().as_raw() == certificate.subject().as_raw()
        && key.algorithm.algorithm == OID_SIG_ED25519;
    let key = PublicKey::from_bytes(key.subject_public_key.data.as_ref().try_into().ok()?);
    // Strict, so keys of small order, under which anybody can sign, are no node keys.
    let signature = Signature::from_bytes(*signature);
    (is_ours && key.verify(signed, &signature)).then_some(key)
}

/// What DER has before the content of a sequence, if that is no longer than a certificate needs.
fn sequence_head(length: usize) -> Option<Vec<u8>> {
    let [high, low] = u16::try_from(length).ok()?.to_be_bytes();
    Some(match (high, low) {
        (0, 0..0x80) => vec![0x30, low],
        (0, _) => vec![0x30, 0x81, low],
        _ => vec![0x30, 0x82, high, low],
    })
}

/// Accepts node certificates, and of these the expected one alone if there is one.
#[derive(Debug)]
struct NodeVerifier {
    expected: Option<PublicKey>,
    provider: Arc<CryptoProvider>,
}

impl NodeVerifier {
    fn new(expected: Option<PublicKey>, provider: &Arc<CryptoProvider>) -> Self {
        Self { expected, provider: Arc::clone(provider) }
    }

    fn check(
        &self,
        certificate: &CertificateDer<'_>,
        rest: &[CertificateDer<'_>],
    ) -> Result<(), Error> {
        let key = key_of(certificate, rest)?;
        if self.expected.is_some_and(|expected| expected != key) {
            return Err(CertificateError::ApplicationVerificationFailure.into());
        }
        Ok(())
    }

    /// The proof that the other side owns the key: its signature over this very handshake.
    fn check_handshake(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        let algorithms = &self.provider.signature_verification_algorithms;
        verify_tls13_signature(message, certificate, signature, algorithms)
    }
}

fn no_tls12() -> Result<HandshakeSignatureValid, Error> {
    Err(Error::General("nodes speak TLS 1.3 only".to_owned()))
}

impl ServerCertVerifier for NodeVerifier {
    fn verify_server_cert(
        &self,
        end_entity: &CertificateDer<'_>,
        intermediates: &[CertificateDer<'_>],
        _server_name: &ServerName<'_>,
        _ocsp_response: &[u8],
        _now: UnixTime,
    ) -> Result<ServerCertVerified, Error> {
        self.check(end_entity, intermediates).map(|()| ServerCertVerified::assertion())
    }

    fn verify_tls12_signature(
        &self,
        _message: &[u8],
        _cert: &CertificateDer<'_>,
        _dss: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        no_tls12()
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        cert: &CertificateDer<'_>,
        dss: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        self.check_handshake(message, cert, dss)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        vec![SignatureScheme::ED25519]
    }
}

impl ClientCertVerifier for NodeVerifier {
    fn root_hint_subjects(&self) -> &[Authority] {
        &[]
    }

    fn verify_client_cert(
        &self,
        end_entity: &CertificateDer<'_>,
        intermediates: &[CertificateDer<'_>],
        _now: UnixTime,
    ) -> Result<ClientCertVerified, Error> {
        self.check(end_entity, intermediates).map(|()| ClientCertVerified::assertion())
    }

    fn verify_tls12_signature(
        &self,
        _message: &[u8],
        _cert: &CertificateDer<'_>,
        _dss: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        no_tls12()
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        cert: &CertificateDer<'_>,
        dss: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        self.check_handshake(message, cert, dss)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        vec![SignatureScheme::ED25519]
    }
}

#[cfg(test)]
mod tests {
    use super::super::storm::{INPUTS, RAREST, Storm};
    use super::*;

    fn certificate(seed: u8) -> CertificateDer<'static> {
        self_signed(&pkcs8(&KeyPair::from_seed(&[seed; 32]))).unwrap()
    }

    #[test]
    fn a_certificate_carries_the_node_key_and_is_always_the_same() {
        let key = KeyPair::from_seed(&[1; 32]);
        assert_eq!(key_of(&certificate(1), &[]), Ok(key.public()));
        assert_eq!(certificate(1), certificate(1));
    }

    #[test]
    fn a_chain_and_a_certificate_with_anything_changed_are_refused() {
        assert!(key_of(&certificate(1), &[certificate(1)]).is_err());
        for at in 0..certificate(1).len() {
            let mut changed = certificate(1).to_vec();
            changed[at] ^= 1;
            assert!(key_of(&changed.into(), &[]).is_err(), "byte {at} does not count");
        }
        let longer = [certificate(1).as_ref(), &[0]].concat();
        assert!(key_of(&longer.into(), &[]).is_err());
    }

    /// Something that is signed as a certificate is, by whoever has the key.
    fn signed(pair: &KeyPair, inner: &[u8]) -> Vec<u8> {
        let signature = pair.sign(inner);
        let length = inner.len() + BEFORE_SIGNATURE.len() + Signature::LEN;
        let head = sequence_head(length).unwrap();
        [&head[..], inner, BEFORE_SIGNATURE, signature.as_bytes()].concat()
    }

    /// H14: of what is changed nothing is a certificate, and what is nonsense but signed is the signer's.
    #[test]
    fn a_million_certificates_of_anybody_are_read() {
        let (pair, mut storm) = (KeyPair::from_seed(&[1; 32]), Storm::new(4));
        let other = rcgen::KeyPair::generate_for(&rcgen::PKCS_ECDSA_P256_SHA256).unwrap();
        let other = CertificateParams::default().self_signed(&other).unwrap().der().to_vec();
        let good = certificate(1).to_vec();
        let (_, parsed) = X509Certificate::from_der(&good).unwrap();
        let inner = parsed.tbs_certificate.as_ref().to_vec();
        let [mut accepted, mut refused] = [0_u32; 2];
        for _ in 0..INPUTS {
            let (bytes, is_signed) = match storm.below(32) {
                0..4 => (storm.noise(400), false),
                4..8 => (storm.changed(&other), false),
                8 => (signed(&pair, &storm.changed(&inner)), true),
                9 => (signed(&pair, &inner), true),
                _ => (storm.changed(&good), false),
            };
            let key = key_of(&CertificateDer::from(&bytes[..]), &[]);
            match key {
                Ok(key) => {
                    assert_eq!(key, pair.public());
                    assert!(is_signed || bytes == good, "{}", hex::encode(&bytes));
                    accepted += 1;
                }
                Err(_) => refused += 1,
            }
        }
        assert!(accepted.min(refused) > INPUTS / RAREST, "{accepted}, {refused}");
    }

    #[test]
    fn keys_of_other_kinds_are_no_node_keys() {
        let key = rcgen::KeyPair::generate_for(&rcgen::PKCS_ECDSA_P256_SHA256).unwrap();
        let other = CertificateParams::default().self_signed(&key).unwrap();
        assert!(key_of(other.der(), &[]).is_err());
    }
}
