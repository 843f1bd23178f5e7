//! How RocksDB is set up: every figure that decides about memory, disk and stalls.
//!
//! Entry points are [`database`], [`cache`] and [`family`]. The aim is a node of at most 256 MiB with 100,000
//! envelopes on disk: caches and write buffers are bounded, and no file is kept for reuse.

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
/// One write buffer of envelopes.
const ENVELOPES_BUFFER_BYTES: usize = 8 * MIB;
/// One write buffer of any other table.
const INDEX_BUFFER_BYTES: usize = 4 * MIB;
/// Logs on disk. Beyond it the tables that hold the oldest one back are written out.
const LOGS_BYTES: u64 = 32 * MIB as u64;
/// One table file.
const TABLE_FILE_BYTES: u64 = 16 * MIB as u64;
/// What one compaction takes up, and so about what it needs beside the data for a while.
const COMPACTION_BYTES: u64 = 128 * MIB as u64;
/// After so much written in the background the disk is asked to write it, so that no sync of the
/// log has to wait behind hundreds of megabytes.
const BACKGROUND_SYNC_BYTES: u64 = 512 * KIB as u64;
/// Open table files.
pub(crate) const FILES_MAX: usize = 256;

/// Options of the database as a whole.
pub(super) fn database() -> Options {
    let mut options = without_preallocation();
    options.create_if_missing(true);
    options.create_missing_column_families(true);
    options.set_db_write_buffer_size(WRITE_BUFFERS_BYTES);
    options.set_max_total_wal_size(LOGS_BYTES);
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
pub(super) fn family(family: Family, cache: &Cache) -> ColumnFamilyDescriptor {
    let mut options = Options::default();
    options.set_compression_type(DBCompressionType::None);
    options.set_bottommost_compression_type(DBCompressionType::None);
    options.set_level_compaction_dynamic_level_bytes(true);
    options.set_target_file_size_base(TABLE_FILE_BYTES);
    options.set_max_compaction_bytes(COMPACTION_BYTES);
    options.set_max_write_buffer_number(4);
    options.set_write_buffer_size(match family {
        Family::Envelopes => ENVELOPES_BUFFER_BYTES,
        _ => INDEX_BUFFER_BYTES,
    });
    // Most ids that are looked up are new, and found in no write buffer: a filter says so for less than a
    // search of it takes.
    if matches!(family, Family::Custody | Family::Tombstones) {
        options.set_memtable_whole_key_filtering(true);
        options.set_memtable_prefix_bloom_ratio(0.05);
    }
    // Envelopes are left to the upkeep, which knows how much it would rewrite for how much space.
    if family != Family::Envelopes {
        options.add_compact_on_deletion_collector_factory(1_024, 512, 0.5);
    }
    options.set_block_based_table_factory(&blocks(family, cache));
    ColumnFamilyDescriptor::new(family.name(), options)
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
