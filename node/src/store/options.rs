//! How RocksDB is set up: every figure that decides about memory, disk and stalls.
//!
//! Entry points are [`Sizes`], [`database`], [`cache`] and [`family`]. The aim is a node of at most 256 MiB with 100,000
//! envelopes on disk: caches and write buffers are bounded, and no file is kept for reuse. What a store
//! takes beside what lives in it follows from [`Sizes`]: it is a few hundredths of its budget.

use comm_proto::node::Family;
use rocksdb::{
    BlockBasedOptions, Cache, ColumnFamilyDescriptor, DBCompressionType, Env, InfoLogger, LogLevel,
    Options,
};

const KIB: usize = 1 << 10;
const MIB: usize = 1 << 20;

/// Blocks, their indexes and filters of all tables together.
const CACHE_BYTES: usize = 32 * MIB;
/// Write buffers of all tables together.
const WRITE_BUFFERS_BYTES: usize = 32 * MIB;
/// Bodies of so many bytes lie in files of their own, which are not rewritten when keys are sorted. Those
/// of the smallest class stay beside their keys: apart they would take a twentieth more.
const BODY_BYTES_MIN: u64 = 2 * KIB as u64;
/// Of the files of bodies, the oldest part from which what lives is moved at a time so that they go. It is
/// there twice meanwhile.
const MOVED_PART: f64 = 0.04;
/// Files of the topmost level, each of which may have keys of the whole table, before they are sorted in.
const UNSORTED_FILES: i32 = 2;
/// After so much written in the background the disk is asked to write it, so that no sync of the
/// log has to wait behind hundreds of megabytes.
const BACKGROUND_SYNC_BYTES: u64 = 512 * KIB as u64;
/// Open table files.
pub(crate) const FILES_MAX: usize = 256;

/// How large files and buffers are, by what the store may take of the disk.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Sizes {
    /// So much may gather in memory before whoever applies more has to write it out: the syncer is
    /// waiting for a slow disk then.
    pub(super) gathered: usize,
    /// One write buffer of envelopes; one of any other table is half of it.
    buffer: usize,
    /// Logs on disk. Beyond it the tables that hold the oldest one back are written out.
    logs: u64,
    /// One table file.
    table_file: u64,
    /// One file of bodies.
    body_file: u64,
    /// What one compaction takes up, and so what it needs beside the data for a while; and the first
    /// sorted level, which is rewritten as a whole.
    compaction: u64,
}

impl Sizes {
    /// Those of a store that may take so many bytes.
    pub(super) fn within(budget: u64) -> Self {
        let (kib, mib) = (KIB as u64, MIB as u64);
        let buffer = (budget / 128).clamp(512 * kib, 8 * mib);
        Self {
            gathered: (buffer / 2) as usize,
            buffer: buffer as usize,
            logs: 4 * buffer,
            table_file: (budget / 128).clamp(512 * kib, 16 * mib),
            body_file: (budget / 128).clamp(512 * kib, 32 * mib),
            compaction: (budget / 48).clamp(mib, 64 * mib),
        }
    }
}

/// Options of the database as a whole.
pub(super) fn database(sizes: Sizes) -> Options {
    let mut options = without_preallocation();
    options.create_if_missing(true);
    options.create_missing_column_families(true);
    options.set_db_write_buffer_size(WRITE_BUFFERS_BYTES);
    options.set_max_total_wal_size(sizes.logs);
    options.set_max_open_files(FILES_MAX as i32);
    options.set_max_background_jobs(2);
    options.set_bytes_per_sync(BACKGROUND_SYNC_BYTES);
    options.set_wal_bytes_per_sync(BACKGROUND_SYNC_BYTES);
    if let Some(env) = background() {
        options.set_env(&env);
    }
    options.set_max_manifest_file_size(MIB);
    options.set_manifest_preallocation_size(64 * KIB);
    options.set_recycle_log_file_num(0);
    options.set_keep_log_file_num(1);
    options.set_stats_dump_period_sec(0);
    options.set_stats_persist_period_sec(0);
    options.set_info_logger(InfoLogger::new_callback_logger(LogLevel::Warn, log));
    options
}

/// Threads of RocksDB's own, of which those that compact give way to everything that somebody waits
/// for. Those that write buffers out do not: a writer would have to wait for them in the end.
fn background() -> Option<Env> {
    let mut env = Env::new().ok()?;
    env.lower_thread_pool_cpu_priority();
    Some(env)
}

/// The cache that all tables share.
pub(super) fn cache() -> Cache {
    Cache::new_lru_cache(CACHE_BYTES)
}

/// One table.
pub(super) fn family(family: Family, sizes: Sizes, cache: &Cache) -> ColumnFamilyDescriptor {
    let mut options = Options::default();
    options.set_compression_type(DBCompressionType::None);
    options.set_bottommost_compression_type(DBCompressionType::None);
    options.set_level_compaction_dynamic_level_bytes(true);
    options.set_target_file_size_base(sizes.table_file);
    options.set_max_compaction_bytes(sizes.compaction);
    options.set_max_bytes_for_level_base(sizes.compaction);
    options.set_level_zero_file_num_compaction_trigger(UNSORTED_FILES);
    options.set_max_write_buffer_number(4);
    options.set_write_buffer_size(match family {
        Family::Envelopes => sizes.buffer,
        _ => sizes.buffer / 2,
    });
    // Most ids that are looked up are new, and found in no write buffer: a filter says so for less than a
    // search of it takes.
    if matches!(family, Family::Custody | Family::Tombstones) {
        options.set_memtable_whole_key_filtering(true);
        options.set_memtable_prefix_bloom_ratio(0.05);
    }
    // Envelopes are left to the upkeep, which knows how much it would rewrite for how much space.
    if family == Family::Envelopes {
        keep_bodies_apart(&mut options, sizes);
    } else {
        options.add_compact_on_deletion_collector_factory(1_024, 512, 0.5);
    }
    options.set_block_based_table_factory(&blocks(family, cache));
    ColumnFamilyDescriptor::new(family.name(), options)
}

/// Large bodies are written once when they come, and moved only if much of what came with them is gone.
fn keep_bodies_apart(options: &mut Options, sizes: Sizes) {
    options.set_enable_blob_files(true);
    options.set_min_blob_size(BODY_BYTES_MIN);
    options.set_blob_file_size(sizes.body_file);
    options.set_enable_blob_gc(true);
    options.set_blob_gc_age_cutoff(MOVED_PART);
}

/// RocksDB reserves a whole write buffer's worth of disk for each new log, which would be most of
/// what a small node uses. The option has no setter of its own.
fn without_preallocation() -> Options {
    Options::default()
        .get_options_from_string("allow_fallocate=false")
        .expect("RocksDB knows its own option")
}

/// RocksDB hands its options over as well, as a header that no level keeps out.
fn log(level: LogLevel, text: &str) {
    let text = text.trim_end();
    match level {
        LogLevel::Warn => tracing::warn!(target: "comm_node::rocksdb", "{text}"),
        LogLevel::Error | LogLevel::Fatal => {
            tracing::error!(target: "comm_node::rocksdb", "{text}")
        }
        LogLevel::Debug | LogLevel::Info | LogLevel::Header => {}
    }
}

fn blocks(family: Family, cache: &Cache) -> BlockBasedOptions {
    let mut blocks = BlockBasedOptions::default();
    blocks.set_block_cache(cache);
    blocks.set_cache_index_and_filter_blocks(true);
    blocks.set_pin_l0_filter_and_index_blocks_in_cache(true);
    if matches!(family, Family::Custody | Family::Tombstones | Family::Envelopes) {
        blocks.set_bloom_filter(10.0, false);
    }
    blocks
}
