//! PostgreSQL as a peer for compare-and-set of documents: `UPDATE … WHERE id = … AND etag = …`.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Stdio};

use anyhow::{Context, ensure};
use serde_json::{Value, json};

use crate::server::wait_for;

/// The user that Debian's package makes; the server refuses to run as root.
const USER: &str = "postgres";

/// A database server of its own in a scratch directory; ends on drop.
pub(crate) struct Postgres {
    child: Child,
    bin: PathBuf,
    directory: PathBuf,
}

/// What a client does again and again: a document of its own, updated only if nobody else has.
const SCRIPT: &str = "\
UPDATE twins SET document = jsonb_set(document, '{tags,n}', to_jsonb(CAST(:etag AS bigint))), etag = etag + 1 \
WHERE id = :client_id AND etag = :etag RETURNING etag \\gset\n";

impl Postgres {
    /// Makes a cluster with `count` documents. Commits are not waited for, as with the emulator's
    /// own default of periodic durability.
    pub(crate) fn start(bin: &Path, directory: &Path, count: usize) -> anyhow::Result<Self> {
        fs::create_dir_all(directory)?;
        fs::write(directory.join("script.sql"), SCRIPT)?;
        let data = directory.join("data");
        run(Command::new("chown").arg(USER).arg(directory))?;
        // Whoever serves has to be able to reach its directory.
        if let Some(parent) = directory.parent() {
            run(Command::new("chmod").arg("o+x").arg(parent))?;
        }
        run(as_user(&bin.join("initdb")).arg("-D").arg(&data).args([
            "--auth=trust",
            "--no-sync",
            "--username=postgres",
        ]))?;
        let child = as_user(&bin.join("postgres"))
            .arg("-D")
            .arg(&data)
            .arg("-k")
            .arg(directory)
            .args(["-c", "listen_addresses=", "-c", "synchronous_commit=off"])
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()
            .context("start PostgreSQL")?;
        let mut postgres = Self {
            child,
            bin: bin.to_owned(),
            directory: directory.to_owned(),
        };
        let socket = directory.join(".s.PGSQL.5432");
        wait_for(&mut postgres.child, || {
            std::os::unix::net::UnixStream::connect(&socket).ok()
        })?;
        let setup = format!(
            "CREATE TABLE twins (id int PRIMARY KEY, etag bigint, document jsonb); \
             INSERT INTO twins SELECT id, 0, '{{\"tags\": {{\"n\": 0}}, \"properties\": \
             {{\"desired\": {{}}, \"reported\": {{}}}}}}' FROM generate_series(0, {}) id; ANALYZE",
            count.saturating_sub(1)
        );
        let mut psql = Command::new(bin.join("psql"));
        psql.args(["-q", "-U", USER, "-h"]).arg(directory);
        psql.args(["-c", &setup]).stderr(Stdio::null());
        // It accepts before it serves.
        wait_for(&mut postgres.child, || {
            psql.status().ok().filter(ExitStatus::success)
        })?;
        Ok(postgres)
    }

    /// Updates for some seconds with `clients` at a time; figures named as the fleet names them.
    pub(crate) fn update(&self, clients: usize, seconds: usize) -> anyhow::Result<Value> {
        let output = Command::new(self.bin.join("pgbench"))
            .args(["-n", "-M", "prepared", "-U", USER, "-h"])
            .arg(&self.directory)
            .args([
                "-c",
                &clients.to_string(),
                "-j",
                "1",
                "-T",
                &seconds.to_string(),
            ])
            .args(["-D", "etag=0", "-f"])
            .arg(self.directory.join("script.sql"))
            // The database, which is otherwise the one of the caller's name.
            .arg(USER)
            .output()
            .context("run pgbench")?;
        let text = String::from_utf8_lossy(&output.stdout);
        let figure = |name: &str| {
            let (_, rest) = text.split_once(name)?;
            rest.split_whitespace().next()?.parse::<f64>().ok()
        };
        let rate = figure("tps = ").with_context(|| {
            format!("pgbench says: {}", String::from_utf8_lossy(&output.stderr))
        })?;
        Ok(json!({
            "per_second": rate,
            "mean_us": figure("latency average = ").map(|millis| millis * 1e3),
        }))
    }
}

impl Drop for Postgres {
    fn drop(&mut self) {
        // It may have ended by itself; its children end with it.
        let _ = Command::new("kill")
            .args(["-INT", &self.child.id().to_string()])
            .status();
        let _ = self.child.wait();
    }
}

/// A command as the user that owns the cluster.
fn as_user(program: &Path) -> Command {
    let mut command = Command::new("setpriv");
    command.args(["--reuid", USER, "--regid", USER, "--clear-groups"]);
    command.arg(program);
    command
}

fn run(command: &mut Command) -> anyhow::Result<()> {
    let output = command
        .output()
        .with_context(|| format!("run {command:?}"))?;
    ensure!(
        output.status.success(),
        "{command:?}: {}",
        String::from_utf8_lossy(&output.stderr)
    );
    Ok(())
}
