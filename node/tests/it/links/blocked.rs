//! Whom a node has nothing to do with: at either end of a link, before it is open and while it is.

use std::fs;

use comm_node::links::blocks::BlockList;

use super::*;

/// A list with this line.
fn list(line: &str) -> BlockList {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("blocks");
    fs::write(&path, format!("{line}\n")).unwrap();
    BlockList::read(&path).unwrap()
}

async fn blocking(blocks: &Blocks) -> Stub {
    Stub::start_with(1, Options { blocks: blocks.clone(), ..Options::default() }).await
}

#[tokio::test(flavor = "multi_thread")]
async fn a_blocked_node_is_neither_called_nor_answered_also_over_links_that_are_open() {
    let blocks = Blocks::default();
    let (ours, other) = (blocking(&blocks).await, Stub::start(2).await);
    assert!(ours.ping(&other.contact()).await.is_ok());
    assert!(other.ping(&ours.contact()).await.is_ok());
    blocks.set(list(&other.key.address().to_string()));
    assert_eq!(ours.ping(&other.contact()).await, Err(Rejection::Unreachable));
    assert_eq!(other.ping(&ours.contact()).await, Err(Rejection::Unreachable));
    assert_eq!((ours.asked_by().len(), other.asked_by().len()), (1, 1), "nothing has come through");
    let third = Stub::start(3).await;
    assert!(third.ping(&ours.contact()).await.is_ok(), "nobody else is blocked");
    blocks.set(BlockList::default());
    eventually(async || ours.ping(&other.contact()).await.ok()).await;
    eventually(async || other.ping(&ours.contact()).await.ok()).await;
    for stub in [ours, other, third] {
        stub.stop().await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn nothing_goes_to_a_blocked_network_and_nothing_comes_from_there() {
    let blocks = Blocks::default();
    let (ours, other) = (blocking(&blocks).await, Stub::start(2).await);
    let at = |stub: &Stub, place: usize| Contact::new(stub.key.public(), [stub.endpoints[place]]);
    assert!(ours.ping(&at(&other, 0)).await.is_ok());
    assert!(other.ping(&at(&ours, 0)).await.is_ok());
    blocks.set(list("127.0.0.0/8 # of this machine"));
    assert_eq!(ours.ping(&at(&other, 0)).await, Err(Rejection::Unreachable));
    assert_eq!(other.ping(&at(&ours, 0)).await, Err(Rejection::Unreachable));
    assert!(ours.peers.identify(other.endpoints[0]).await.is_err());
    // The same node, from a network that is not blocked.
    assert!(ours.ping(&at(&other, 1)).await.is_ok());
    assert!(other.ping(&at(&ours, 1)).await.is_ok());
    for stub in [ours, other] {
        stub.stop().await;
    }
}
