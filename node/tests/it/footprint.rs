//! What an envelope costs the disk while it waits and after it was read, and how many writes that takes.

use std::collections::BTreeMap;
use std::path::Path;
use std::time::Instant;

use comm_proto::acknowledgement::IDS_MAX;
use comm_proto::envelope::SizeClass;
use comm_proto::key::KeyPair;
use comm_proto::node::Family;

use crate::hosted::Hosted;

const COUNT: u64 = 20_000;

/// Bytes of each table once nothing of it is in logs and nothing deleted is left in it. The options
/// that decide about size are those of the store.
fn table_bytes(dir: &Path) -> BTreeMap<&'static str, u64> {
    let families = Family::ALL.map(|family| {
        let mut options = rocksdb::Options::default();
        options.set_compression_type(rocksdb::DBCompressionType::None);
        let mut blocks = rocksdb::BlockBasedOptions::default();
        if matches!(family, Family::Custody | Family::Tombstones | Family::Envelopes) {
            blocks.set_bloom_filter(10.0, false);
        }
        options.set_block_based_table_factory(&blocks);
        rocksdb::ColumnFamilyDescriptor::new(family.name(), options)
    });
    let db = rocksdb::DB::open_cf_descriptors(&rocksdb::Options::default(), dir, families).unwrap();
    let bytes = Family::ALL.map(|family| {
        let table = db.cf_handle(family.name()).unwrap();
        db.flush_cf(table).unwrap();
        db.compact_range_cf(table, None::<&[u8]>, None::<&[u8]>);
        let size = db.property_int_value_cf(table, "rocksdb.live-sst-files-size").unwrap();
        (family.name(), size.unwrap())
    });
    bytes.into()
}

#[test]
fn a_waiting_envelope_takes_little_more_than_its_body_and_a_read_one_next_to_nothing() {
    let (dir, key) = (tempfile::tempdir().unwrap(), KeyPair::from_seed(&[3; 32]));
    let mut hosted = Hosted::start(dir.path());
    let (mut ids, begun) = (Vec::new(), Instant::now());
    for n in 0..COUNT {
        ids.push(hosted.submit(n, &key, SizeClass::K1));
        // No more may wait for the disk than a node lets.
        if n % 1_000 == 0 {
            hosted.sync();
        }
    }
    let (accepting, took) = (hosted.writes as u64, begun.elapsed());
    drop(hosted);
    let waiting = table_bytes(dir.path());
    let mut hosted = Hosted::start(dir.path());
    for (n, ids) in (COUNT..).zip(ids.chunks(IDS_MAX)) {
        hosted.acknowledge(n, &key, ids);
    }
    let ending = hosted.writes as u64;
    drop(hosted);
    let read = table_bytes(dir.path());
    let each = |tables: &BTreeMap<_, u64>| tables.values().sum::<u64>() as f64 / COUNT as f64;
    let told = format!(
        "{:.0} bytes waiting: {waiting:?}; {:.0} bytes read: {read:?}; writes: {accepting}, \
         {ending}; accepted in {took:?}",
        each(&waiting),
        each(&read),
    );
    println!("{told}");
    assert!(each(&waiting) <= 1_330.0 && each(&read) <= 75.0, "{told}");
    // The body, custody, the place in its mailbox and in the schedule, and the totals.
    assert!(accepting <= COUNT * 5 + 10, "{told}");
    // Four of these deleted, a tombstone, and a share of the acknowledgement, its end and the totals.
    assert!(ending <= COUNT * 5 + COUNT.div_ceil(IDS_MAX as u64) * 3 + 10, "{told}");
}
