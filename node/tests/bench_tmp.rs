//! x
use std::time::{Duration, Instant};
use comm_node::Relay;
use comm_node::config::NodeConfig;
use comm_node::rpc::client::client_client::ClientClient;
use comm_proto::address::Address;
use comm_proto::envelope::*;
use comm_proto::time::Time;
use comm_proto::wire::client as wire;
use hyper_util::rt::TokioIo;
use tokio::net::UnixStream;
use tonic::transport::{Endpoint, Uri};
use tower::service_fn;
use std::os::unix::fs::PermissionsExt;

fn submission(n: u32) -> wire::SubmitRequest {
    let now = std::time::SystemTime::UNIX_EPOCH.elapsed().unwrap().as_millis() as u64;
    let header = Header { suite: Suite::ONE, mailbox: Address::from_bytes([(n%16) as u8; 20]), expires_at: Time::from_millis(now) + TTL_DEFAULT, stamp_nonce: 0 };
    let mut body = vec![0; 1 << 10];
    body[..4].copy_from_slice(&n.to_be_bytes());
    wire::SubmitRequest { envelope: Some((&Envelope::new(header, body.into()).unwrap()).into()) }
}

#[test]
fn bench() {
    let server = tokio::runtime::Builder::new_multi_thread().enable_all().build().unwrap();
    let client_rt = tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build().unwrap();
    let dir = tempfile::Builder::new().permissions(std::fs::Permissions::from_mode(0o700)).tempdir_in("/work").unwrap();
    let config = NodeConfig { data_dir: dir.path().to_owned(), listen: vec!["127.0.0.1:0".parse().unwrap()], ..NodeConfig::default() };
    let relay = server.block_on(Relay::start(config)).unwrap();
    let path = relay.api_socket().clone();
    client_rt.block_on(async move {
        let channel = Endpoint::from_static("http://x").initial_connection_window_size(8<<20).initial_stream_window_size(4<<20).connect_with_connector(service_fn(move |_: Uri| { let p = path.clone(); async move { UnixStream::connect(p).await.map(TokioIo::new) } })).await.unwrap();
        let mut n = 0u32;
        // c1
        let mut client = ClientClient::new(channel.clone());
        let t = Instant::now(); let mut c = 0;
        let mut lat = vec![];
        while t.elapsed() < Duration::from_secs(2) { n+=1; let s = submission(n); let a = Instant::now(); client.submit(s).await.unwrap(); lat.push(a.elapsed()); c+=1; }
        lat.sort();
        println!("c1: {}/s p50 {:?} p99 {:?}", c/2, lat[lat.len()/2], lat[lat.len()*99/100]);
        // c64
        let subs: Vec<_> = (0..200_000u32).map(|i| submission(n + 1 + i)).collect(); n += 200_001;
        let subs = std::sync::Arc::new(subs);
        let next = std::sync::Arc::new(std::sync::atomic::AtomicUsize::new(0));
        let t = Instant::now();
        let tasks: Vec<_> = (0..64).map(|_| { let (subs, next, mut client) = (subs.clone(), next.clone(), ClientClient::new(channel.clone())); tokio::spawn(async move { loop { let i = next.fetch_add(1, std::sync::atomic::Ordering::Relaxed); if i >= 100_000 { return } client.submit(subs[i].clone()).await.unwrap(); } }) }).collect();
        for t in tasks { t.await.unwrap(); }
        println!("c64: {}/s", (100_000.0 / t.elapsed().as_secs_f64()) as u64);
        // stream, window 64
        for window in [64usize, 512] {
        let subs: Vec<_> = (0..150_000u32).map(|i| submission(n + 1 + i)).collect(); n += 150_001;
        let (tx, rx) = tokio::sync::mpsc::channel(window);
        let sem = std::sync::Arc::new(tokio::sync::Semaphore::new(window));
        let mut client = ClientClient::new(channel.clone());
        let t = Instant::now();
        let s2 = sem.clone();
        tokio::spawn(async move { for s in subs { s2.acquire().await.unwrap().forget(); tx.send(s).await.unwrap(); } });
        let mut answers = client.submit_stream(tokio_stream::wrappers::ReceiverStream::new(rx)).await.unwrap().into_inner();
        let mut c = 0;
        while let Some(a) = answers.message().await.unwrap() { c += 1; sem.add_permits(1); assert!(matches!(a.result, Some(wire::submit_stream_response::Result::State(_))), "{a:?}"); }
        println!("stream {window}: {}/s", (c as f64 / t.elapsed().as_secs_f64()) as u64);
        }
    });
    let t = Instant::now();
    server.block_on(relay.stop()).unwrap();
    println!("stop {:?}", t.elapsed());
}
