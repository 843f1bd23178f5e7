//! How to reach a node: its key and the network endpoints it listens on.
//!
//! Entry type is [`Contact`]. A contact is hearsay until an authenticated exchange that we began has
//! confirmed it ([`crate::table`]); it never names a person (PROTOCOL §5.1).

use std::net::{IpAddr, Ipv6Addr, SocketAddr};
use std::sync::Arc;

use crate::address::Address;
use crate::key::PublicKey;

/// The most endpoints one node may announce.
pub const ENDPOINTS_MAX: usize = 4;

/// A node's key and endpoints; cloning shares them.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Contact(Arc<Fields>);

#[derive(Debug, PartialEq, Eq)]
struct Fields {
    key: PublicKey,
    address: Address,
    endpoints: Box<[SocketAddr]>,
}

impl Contact {
    /// A contact; endpoints beyond [`ENDPOINTS_MAX`] are left out. Without any it is a leaf:
    /// a node that dials out and cannot be dialled.
    pub fn new(key: PublicKey, endpoints: impl IntoIterator<Item = SocketAddr>) -> Self {
        let endpoints = endpoints.into_iter().take(ENDPOINTS_MAX).collect();
        Self(Arc::new(Fields { key, address: key.address(), endpoints }))
    }

    /// The node's public key.
    pub fn key(&self) -> &PublicKey {
        &self.0.key
    }

    /// The node's place in the table: the hash of its key.
    pub fn address(&self) -> Address {
        self.0.address
    }

    /// Where it listens, best first.
    pub fn endpoints(&self) -> &[SocketAddr] {
        &self.0.endpoints
    }

    /// The layout in which a node writes its table down: the key, then for each endpoint 16 bytes
    /// of IP (IPv4 mapped into IPv6) and two of port.
    pub(crate) fn to_stored(&self) -> Vec<u8> {
        let mut bytes = self.0.key.as_bytes().to_vec();
        for endpoint in &self.0.endpoints {
            let ip = match endpoint.ip() {
                IpAddr::V4(ip) => ip.to_ipv6_mapped(),
                IpAddr::V6(ip) => ip,
            };
            bytes.extend(ip.octets());
            bytes.extend(endpoint.port().to_be_bytes());
        }
        bytes
    }

    /// Reads [`Self::to_stored`] back.
    pub(crate) fn from_stored(bytes: &[u8]) -> Option<Self> {
        let (key, endpoints) = bytes.split_first_chunk::<{ PublicKey::LEN }>()?;
        let (endpoints, []) = endpoints.as_chunks::<18>() else { return None };
        let endpoint = |bytes: &[u8; 18]| {
            let ip: [u8; 16] = std::array::from_fn(|i| bytes[i]);
            let port = u16::from_be_bytes([bytes[16], bytes[17]]);
            SocketAddr::new(IpAddr::from(ip).to_canonical(), port)
        };
        Some(Self::new(PublicKey::from_bytes(*key), endpoints.iter().map(endpoint)))
    }

    /// Whether the node cannot be dialled.
    pub fn is_leaf(&self) -> bool {
        self.0.endpoints.is_empty()
    }
}

/// The source that an IP address belongs to (PROTOCOL §9.1): whoever has one address of an IPv6 /64 has
/// them all.
pub fn source_of(ip: IpAddr) -> IpAddr {
    match ip.to_canonical() {
        IpAddr::V4(ip) => ip.into(),
        IpAddr::V6(ip) => Ipv6Addr::from_bits(ip.to_bits() >> 64 << 64).into(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::key::KeyPair;

    #[test]
    fn a_64_is_one_source_and_so_is_ipv4_in_the_clothes_of_ipv6() {
        let ip = |text: &str| source_of(text.parse().unwrap());
        assert_eq!(ip("2001:db8::1"), ip("2001:db8::ffff:ffff:ffff:ffff"));
        assert_ne!(ip("2001:db8::1"), ip("2001:db8:0:1::1"));
        assert_eq!(ip("::ffff:192.0.2.1"), ip("192.0.2.1"));
    }

    #[test]
    fn the_stored_layout_reads_back() {
        let key = KeyPair::from_seed(&[1; 32]).public();
        let endpoints = ["127.0.0.1:4000", "[::1]:4001"].map(|text| text.parse().unwrap());
        for count in 0..=2 {
            let contact = Contact::new(key, endpoints.into_iter().take(count));
            assert_eq!(Contact::from_stored(&contact.to_stored()), Some(contact));
        }
        assert_eq!(Contact::from_stored(&[0; 33]), None);
    }

    #[test]
    fn endpoints_beyond_the_bound_are_left_out() {
        let key = KeyPair::from_seed(&[1; 32]).public();
        let many = (1..9).map(|port| SocketAddr::from(([127, 0, 0, 1], port)));
        assert_eq!(Contact::new(key, many).endpoints().len(), ENDPOINTS_MAX);
    }
}
