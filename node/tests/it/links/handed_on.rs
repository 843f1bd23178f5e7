//! A proof of a key counts for one link (C23): a third node to which a victim has proved its key
//! hands certificate and signature on to somebody else, and is not taken for the victim.

use std::net::SocketAddr;
use std::sync::{Arc, Mutex};

use comm_proto::contact::Contact;
use comm_proto::key::KeyPair;
use rustls::client::ResolvesClientCert;
use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::crypto::aws_lc_rs::{default_provider, sign::any_eddsa_type};
use rustls::pki_types::{CertificateDer, PrivatePkcs8KeyDer, ServerName, UnixTime};
use rustls::server::danger::{ClientCertVerified, ClientCertVerifier};
use rustls::server::{ClientHello, ResolvesServerCert};
use rustls::sign::{CertifiedKey, Signer, SigningKey};
use rustls::version::TLS13;
use rustls::{
    AlertDescription, ClientConfig, DigitallySignedStruct, DistinguishedName, Error, ServerConfig,
    SignatureAlgorithm, SignatureScheme,
};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio_rustls::{TlsAcceptor, TlsConnector};

use super::Stub;

/// What a victim has shown.
#[derive(Clone, Debug)]
struct Proof {
    certificate: CertificateDer<'static>,
    signature: Vec<u8>,
}

/// Believes everybody and keeps their proof.
#[derive(Debug, Default)]
struct Catcher(Mutex<Option<Proof>>);

impl Catcher {
    fn keep(
        &self,
        certificate: &CertificateDer<'_>,
        signed: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        let certificate = certificate.clone().into_owned();
        let proof = Proof { certificate, signature: signed.signature().to_vec() };
        *self.0.lock().unwrap() = Some(proof);
        Ok(HandshakeSignatureValid::assertion())
    }

    fn proof(&self) -> Proof {
        self.0.lock().unwrap().clone().expect("the victim proves its key")
    }
}

/// What is the same for the proofs of callers and of callees.
macro_rules! keeps_signatures {
    () => {
        fn verify_tls12_signature(
            &self,
            _message: &[u8],
            _cert: &CertificateDer<'_>,
            _dss: &DigitallySignedStruct,
        ) -> Result<HandshakeSignatureValid, Error> {
            unreachable!("only TLS 1.3 is spoken")
        }

        fn verify_tls13_signature(
            &self,
            _message: &[u8],
            cert: &CertificateDer<'_>,
            dss: &DigitallySignedStruct,
        ) -> Result<HandshakeSignatureValid, Error> {
            self.keep(cert, dss)
        }

        fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
            vec![SignatureScheme::ED25519]
        }
    };
}

impl ServerCertVerifier for Catcher {
    fn verify_server_cert(
        &self,
        _end_entity: &CertificateDer<'_>,
        _intermediates: &[CertificateDer<'_>],
        _server_name: &ServerName<'_>,
        _ocsp_response: &[u8],
        _now: UnixTime,
    ) -> Result<ServerCertVerified, Error> {
        Ok(ServerCertVerified::assertion())
    }

    keeps_signatures!();
}

impl ClientCertVerifier for Catcher {
    fn root_hint_subjects(&self) -> &[DistinguishedName] {
        &[]
    }

    fn verify_client_cert(
        &self,
        _end_entity: &CertificateDer<'_>,
        _intermediates: &[CertificateDer<'_>],
        _now: UnixTime,
    ) -> Result<ClientCertVerified, Error> {
        Ok(ClientCertVerified::assertion())
    }

    keeps_signatures!();
}

/// Signs everything with a signature it has heard.
#[derive(Clone, Debug)]
struct Parrot(Vec<u8>);

impl SigningKey for Parrot {
    fn choose_scheme(&self, _offered: &[SignatureScheme]) -> Option<Box<dyn Signer>> {
        Some(Box::new(self.clone()))
    }

    fn algorithm(&self) -> SignatureAlgorithm {
        SignatureAlgorithm::ED25519
    }
}

impl Signer for Parrot {
    fn sign(&self, _message: &[u8]) -> Result<Vec<u8>, Error> {
        Ok(self.0.clone())
    }

    fn scheme(&self) -> SignatureScheme {
        SignatureScheme::ED25519
    }
}

/// A certificate and whatever signs for it.
#[derive(Debug)]
struct Shown(Arc<CertifiedKey>);

impl Shown {
    fn handed_on(proof: Proof) -> Self {
        let key = Arc::new(Parrot(proof.signature));
        Self(Arc::new(CertifiedKey::new(vec![proof.certificate], key)))
    }

    fn own(key: &KeyPair) -> Self {
        let prefix = b"\x30\x2e\x02\x01\x00\x30\x05\x06\x03\x2b\x65\x70\x04\x22\x04\x20";
        let secret = [&prefix[..], &key.expose_seed()[..]].concat();
        let secret = PrivatePkcs8KeyDer::from(secret);
        let signing =
            rcgen::KeyPair::from_pkcs8_der_and_sign_algo(&secret, &rcgen::PKCS_ED25519).unwrap();
        let mut params = rcgen::CertificateParams::default();
        params.distinguished_name = rcgen::DistinguishedName::new();
        let certificate = params.self_signed(&signing).unwrap().into();
        Self(Arc::new(CertifiedKey::new(vec![certificate], any_eddsa_type(&secret).unwrap())))
    }
}

impl ResolvesClientCert for Shown {
    fn resolve(&self, _: &[&[u8]], _: &[SignatureScheme]) -> Option<Arc<CertifiedKey>> {
        Some(Arc::clone(&self.0))
    }

    fn has_certs(&self) -> bool {
        true
    }
}

impl ResolvesServerCert for Shown {
    fn resolve(&self, _: ClientHello<'_>) -> Option<Arc<CertifiedKey>> {
        Some(Arc::clone(&self.0))
    }
}

/// Listens and shows `shown`, to one caller after the other.
async fn listen(shown: Shown, catcher: Arc<Catcher>) -> SocketAddr {
    let mut config = ServerConfig::builder_with_provider(Arc::new(default_provider()))
        .with_protocol_versions(&[&TLS13])
        .unwrap()
        .with_client_cert_verifier(catcher)
        .with_cert_resolver(Arc::new(shown));
    config.alpn_protocols = vec![b"h2".to_vec()];
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let place = listener.local_addr().unwrap();
    tokio::spawn(async move {
        let acceptor = TlsAcceptor::from(Arc::new(config));
        let mut held = Vec::new();
        loop {
            let (stream, _) = listener.accept().await.unwrap();
            held.push(acceptor.accept(stream).await);
        }
    });
    place
}

/// Dials `to`, shows `shown`, and returns what the other side says first.
async fn dial(to: SocketAddr, shown: Shown, catcher: Arc<Catcher>) -> std::io::Result<Vec<u8>> {
    let mut config = ClientConfig::builder_with_provider(Arc::new(default_provider()))
        .with_protocol_versions(&[&TLS13])
        .unwrap()
        .dangerous()
        .with_custom_certificate_verifier(catcher)
        .with_client_cert_resolver(Arc::new(shown));
    config.alpn_protocols = vec![b"h2".to_vec()];
    let stream = TcpStream::connect(to).await.unwrap();
    let name = ServerName::try_from("node.invalid").unwrap();
    let mut stream = TlsConnector::from(Arc::new(config)).connect(name, stream).await?;
    stream.write_all(b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n\0\0\0\x04\0\0\0\0\0").await?;
    let mut said = vec![0; 9];
    stream.read_exact(&mut said).await?;
    Ok(said)
}

fn is_bad_signature(error: &std::io::Error) -> bool {
    let reason = error.get_ref().and_then(|error| error.downcast_ref::<Error>());
    reason == Some(&Error::AlertReceived(AlertDescription::DecryptError))
}

#[tokio::test]
async fn a_callers_proof_handed_on_by_whom_it_called_is_refused() {
    let (victim, bob) = (Stub::start(1).await, Stub::start(2).await);
    let mallory = KeyPair::from_seed(&[3; 32]);
    let catcher = Arc::<Catcher>::default();
    let place = listen(Shown::own(&mallory), Arc::clone(&catcher)).await;
    victim.peers.identify(place).await.unwrap();
    // To finish is the caller's last word; whom it called may not have read it yet.
    super::eventually(async || catcher.0.lock().unwrap().is_some().then_some(())).await;
    let shown = Shown::handed_on(catcher.proof());
    let to = bob.endpoints[0];
    let refused = dial(to, shown, <_>::default()).await.unwrap_err();
    assert!(is_bad_signature(&refused), "{refused:?}");
    assert!(bob.asked_by().is_empty());
    // With the key itself the same would have been let in.
    dial(to, Shown::own(&victim.key), <_>::default()).await.unwrap();
}

#[tokio::test]
async fn a_callees_proof_handed_on_by_who_called_it_is_refused() {
    let (alice, victim) = (Stub::start(1).await, Stub::start(2).await);
    let catcher = Arc::<Catcher>::default();
    let mallory = Shown::own(&KeyPair::from_seed(&[3; 32]));
    dial(victim.endpoints[0], mallory, Arc::clone(&catcher)).await.unwrap();
    let place = listen(Shown::handed_on(catcher.proof()), <_>::default()).await;
    assert!(alice.peers.identify(place).await.is_err());
    let posing = Contact::new(victim.key.public(), [place]);
    assert!(alice.ping(&posing).await.is_err());
    // With the key itself the same would have been believed.
    let place = listen(Shown::own(&victim.key), <_>::default()).await;
    let believed = alice.peers.identify(place).await.unwrap();
    assert_eq!(believed.key(), &victim.key.public());
}
