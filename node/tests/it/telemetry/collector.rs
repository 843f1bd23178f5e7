//! A collector in the process of the test. It keeps every byte that comes, and reads the spans in it.
//!
//! Entry type is [`Collector`]. What it reads is what OTLP 1 lays out of traces.

use std::convert::Infallible;
use std::future::{Future, Ready, ready};
use std::net::SocketAddr;
use std::pin::Pin;
use std::sync::{Arc, Mutex};
use std::task::{Context, Poll};

use bytes::{Buf, BufMut, Bytes};
use prost::Message;
use tokio::net::TcpListener;
use tokio_stream::wrappers::TcpListenerStream;
use tonic::body::Body;
use tonic::codec::{Codec, DecodeBuf, Decoder, EncodeBuf, Encoder};
use tonic::codegen::{Service, http};
use tonic::metadata::MetadataMap;
use tonic::server::{Grpc, NamedService, UnaryService};
use tonic::transport::Server;
use tonic::{Request, Response, Status};

/// A collector that takes whatever comes, until the runtime of its test ends.
pub(super) struct Collector {
    pub(super) place: SocketAddr,
    taken: Arc<Mutex<Vec<(MetadataMap, Bytes)>>>,
}

impl Collector {
    pub(super) async fn start() -> Self {
        Self::start_at("127.0.0.1:0".parse().unwrap()).await
    }

    pub(super) async fn start_at(place: SocketAddr) -> Self {
        let listener = TcpListener::bind(place).await.unwrap();
        let (place, taken) = (listener.local_addr().unwrap(), Arc::default());
        let service = Taking(Arc::clone(&taken));
        let connections = TcpListenerStream::new(listener);
        tokio::spawn(Server::builder().add_service(service).serve_with_incoming(connections));
        Self { place, taken }
    }

    /// Every message that has come, byte for byte.
    pub(super) fn bytes(&self) -> Vec<Bytes> {
        self.taken.lock().unwrap().iter().map(|(_, bytes)| bytes.clone()).collect()
    }

    /// A header of the last call.
    pub(super) fn header(&self, name: &str) -> Option<String> {
        let taken = self.taken.lock().unwrap();
        let value = taken.last()?.0.get(name)?;
        Some(value.to_str().unwrap().to_owned())
    }

    fn resources(&self) -> Vec<OfResource> {
        let read = |bytes| Export::decode(bytes).unwrap().resources;
        self.bytes().into_iter().flat_map(read).collect()
    }

    /// What is said of who tells.
    pub(super) fn tellers(&self) -> Vec<Attribute> {
        let of = |resource: OfResource| resource.resource.unwrap_or_default().attributes;
        self.resources().into_iter().flat_map(of).collect()
    }

    pub(super) fn spans(&self) -> Vec<Span> {
        let scopes = self.resources().into_iter().flat_map(|resource| resource.scopes);
        scopes.flat_map(|scope| scope.spans).collect()
    }
}

#[derive(Clone, PartialEq, Message)]
struct Export {
    #[prost(message, repeated, tag = "1")]
    resources: Vec<OfResource>,
}

#[derive(Clone, PartialEq, Message)]
struct OfResource {
    #[prost(message, optional, tag = "1")]
    resource: Option<Resource>,
    #[prost(message, repeated, tag = "2")]
    scopes: Vec<OfScope>,
}

#[derive(Clone, PartialEq, Message)]
struct Resource {
    #[prost(message, repeated, tag = "1")]
    attributes: Vec<Attribute>,
}

#[derive(Clone, PartialEq, Message)]
struct OfScope {
    #[prost(message, repeated, tag = "2")]
    spans: Vec<Span>,
}

#[derive(Clone, PartialEq, Message)]
pub(super) struct Span {
    #[prost(bytes = "bytes", tag = "4")]
    pub(super) parent: Bytes,
    #[prost(string, tag = "5")]
    pub(super) name: String,
    /// Nanoseconds since 1970.
    #[prost(fixed64, tag = "7")]
    pub(super) start: u64,
    #[prost(fixed64, tag = "8")]
    pub(super) end: u64,
    #[prost(message, repeated, tag = "9")]
    pub(super) attributes: Vec<Attribute>,
    #[prost(bytes = "bytes", repeated, tag = "11")]
    pub(super) events: Vec<Bytes>,
    #[prost(bytes = "bytes", repeated, tag = "13")]
    pub(super) links: Vec<Bytes>,
}

#[derive(Clone, PartialEq, Message)]
pub(super) struct Attribute {
    #[prost(string, tag = "1")]
    pub(super) key: String,
    #[prost(message, optional, tag = "2")]
    value: Option<Value>,
}

/// One of these, or something that no trace of a node has.
#[derive(Clone, PartialEq, Message)]
struct Value {
    #[prost(string, optional, tag = "1")]
    word: Option<String>,
    #[prost(int64, optional, tag = "3")]
    count: Option<i64>,
}

impl Span {
    fn value(&self, key: &str) -> Option<&Value> {
        self.attributes.iter().find(|attribute| attribute.key == key)?.value.as_ref()
    }

    pub(super) fn word(&self, key: &str) -> Option<&str> {
        self.value(key)?.word.as_deref()
    }

    pub(super) fn count(&self, key: &str) -> Option<i64> {
        self.value(key)?.count
    }
}

impl Attribute {
    pub(super) fn word(&self) -> Option<&str> {
        self.value.as_ref()?.word.as_deref()
    }

    pub(super) fn is_count(&self) -> bool {
        self.value.as_ref().is_some_and(|value| value.count.is_some())
    }
}

/// The one service of a collector with its one call.
#[derive(Clone)]
struct Taking(Arc<Mutex<Vec<(MetadataMap, Bytes)>>>);

impl NamedService for Taking {
    const NAME: &'static str = "opentelemetry.proto.collector.trace.v1.TraceService";
}

impl Service<http::Request<Body>> for Taking {
    type Response = http::Response<Body>;
    type Error = Infallible;
    type Future = Pin<Box<dyn Future<Output = Result<Self::Response, Infallible>> + Send>>;

    fn poll_ready(&mut self, _context: &mut Context<'_>) -> Poll<Result<(), Infallible>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, request: http::Request<Body>) -> Self::Future {
        let taking = self.clone();
        Box::pin(async move { Ok(Grpc::new(AsItComes).unary(taking, request).await) })
    }
}

impl UnaryService<Bytes> for Taking {
    type Response = Bytes;
    type Future = Ready<Result<Response<Bytes>, Status>>;

    fn call(&mut self, request: Request<Bytes>) -> Self::Future {
        let (headers, _, message) = request.into_parts();
        self.0.lock().unwrap().push((headers, message));
        // An answer in which nothing stands: all was taken.
        ready(Ok(Response::new(Bytes::new())))
    }
}

/// Messages as bytes, so that nothing of them is lost that is not read.
#[derive(Clone, Copy)]
struct AsItComes;

impl Codec for AsItComes {
    type Encode = Bytes;
    type Decode = Bytes;
    type Encoder = Self;
    type Decoder = Self;

    fn encoder(&mut self) -> Self {
        *self
    }

    fn decoder(&mut self) -> Self {
        *self
    }
}

impl Encoder for AsItComes {
    type Item = Bytes;
    type Error = Status;

    fn encode(&mut self, item: Bytes, to: &mut EncodeBuf<'_>) -> Result<(), Status> {
        to.put(item);
        Ok(())
    }
}

impl Decoder for AsItComes {
    type Item = Bytes;
    type Error = Status;

    fn decode(&mut self, from: &mut DecodeBuf<'_>) -> Result<Option<Bytes>, Status> {
        Ok(Some(from.copy_to_bytes(from.remaining())))
    }
}
