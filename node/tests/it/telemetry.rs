//! Traces: what a collector is told and what never, one that is away or hangs, a program without them.

#[cfg(feature = "opentelemetry")]
mod away;
#[cfg(feature = "opentelemetry")]
mod collector;
#[cfg(feature = "opentelemetry")]
mod told;

#[cfg(not(feature = "opentelemetry"))]
mod not_built {
    use std::fs;
    use std::time::{Duration, Instant};

    use comm_node::config::NodeConfig;
    use comm_node::telemetry::NoTraces;
    use comm_node::{Relay, RelayError};

    use crate::node_process::{NodeProcess, data_dir, said};

    const SET: &str = "--traces-collector=http://127.0.0.1:4317";

    /// What was set, what is wrong with it, and what to do.
    fn assert_told(line: &str) {
        for part in ["traces.collector", "built without OpenTelemetry", "--features opentelemetry"]
        {
            assert!(line.contains(part), "{line}");
        }
        assert_eq!(line.lines().count(), 1, "{line}");
    }

    #[test]
    fn a_collector_is_refused_by_a_program_that_was_built_without_traces() {
        let dir = data_dir();
        let data_dir = format!("--data-dir={}", dir.path().display());
        for command in ["check", "run"] {
            let (code, text, line) = said(&[command, &data_dir, "--listen=127.0.0.1:0", SET]);
            assert_eq!((code, text.as_str()), (Some(2), ""), "{command}: {line}");
            assert_told(&line);
        }
        // It has not even begun to be a relay.
        assert_eq!(fs::read_dir(dir.path()).unwrap().count(), 0);
    }

    #[tokio::test]
    async fn a_node_inside_a_program_that_was_built_without_traces_does_not_start_with_a_collector()
    {
        let dir = data_dir();
        let mut config = NodeConfig { data_dir: dir.path().to_owned(), ..NodeConfig::default() };
        config.listen = vec!["127.0.0.1:0".parse().unwrap()];
        config.traces.collector = Some("http://127.0.0.1:4317".parse().unwrap());
        let refused = Relay::start(config).await.map(|_| ());
        assert!(matches!(refused, Err(RelayError::Traces(NoTraces::NotBuilt))), "{refused:?}");
    }

    /// Else the relay would not come back from its next restart.
    #[tokio::test(flavor = "multi_thread", worker_threads = 2)]
    async fn a_collector_that_is_set_while_it_runs_is_refused_at_once() {
        let dir = data_dir();
        let file = dir.path().join("node.toml");
        fs::write(&file, "").unwrap();
        let node = NodeProcess::spawn(dir.path(), &[format!("--config={}", file.display())]);
        node.connect().await;
        fs::write(&file, "[traces]\ncollector = \"http://127.0.0.1:4317\"\n").unwrap();
        node.signal("-HUP");
        let begun = Instant::now();
        while !node.log().contains("the configuration was not put in force") {
            assert!(begun.elapsed() < Duration::from_secs(60), "in vain: {}", node.log());
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
        let log = node.log();
        assert_told(log.lines().find(|line| line.contains("not put in force")).unwrap());
    }
}
