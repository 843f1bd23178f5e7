//! What programs without the token, and web pages with it, may try over TCP (PROTOCOL §8).

use std::path::Path;

use comm_node::rpc::client::client_client::ClientClient;
use comm_proto::wire::client::GetStatusRequest;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tonic::Request;
use tonic::transport::{Channel, Endpoint};

use super::Target;

const CALLS: u64 = 100;

pub(super) async fn attack(target: &Target, dir: &Path) {
    let token = std::fs::read_to_string(dir.join("api.token")).unwrap();
    let (token, wrong) = (format!("Bearer {}", token.trim()), format!("Bearer {:064}", 0));
    let basic = token.replace("Bearer", "Basic");
    let short = token[..token.len() - 1].to_owned();
    let tcp = Endpoint::from_shared(format!("http://{}", target.api)).unwrap();
    let (tcp, unix) = (tcp.connect().await.unwrap(), target.node.connect().await);
    for headers in [
        &[][..],
        &[("authorization", wrong.as_str())],
        &[("authorization", basic.as_str())],
        &[("authorization", short.as_str())],
    ] {
        ask(target, &tcp, headers, "unauthenticated").await;
    }
    let page = ("origin", "https://example.org");
    for (channel, headers) in [
        (&tcp, &[("authorization", token.as_str()), page][..]),
        (&tcp, &[page]),
        (&unix, &[("origin", "null")]),
    ] {
        ask(target, channel, headers, "foreign-origin").await;
    }
    for _ in 0..20 {
        garbage(target).await;
    }
    let mut request = Request::new(GetStatusRequest {});
    request.metadata_mut().insert("authorization", token.parse().unwrap());
    ClientClient::new(tcp).get_status(request).await.unwrap();
}

async fn ask(target: &Target, channel: &Channel, headers: &[(&'static str, &str)], reason: &str) {
    let mut client = ClientClient::new(channel.clone());
    for _ in 0..CALLS {
        let mut request = Request::new(GetStatusRequest {});
        for (name, value) in headers {
            request.metadata_mut().insert(*name, value.parse().unwrap());
        }
        let refused = client.get_status(request).await.unwrap_err();
        assert_eq!(refused.metadata().get("comm-code").unwrap(), reason);
    }
    target.ledger.note(reason, CALLS, CALLS);
}

/// What a browser or a scanner sends; the connection ends.
async fn garbage(target: &Target) {
    let mut stream = TcpStream::connect(target.api).await.unwrap();
    stream.write_all(b"POST /comm.client.v1.Client/Submit HTTP/1.1\r\n\r\n").await.unwrap();
    let mut answer = Vec::new();
    // Closed or reset, as the system likes.
    let _ = stream.read_to_end(&mut answer).await;
    assert!(!answer.starts_with(b"HTTP/1.1 2"));
}
