//! The processes that are measured, and the folder they work in. Dropping ends and removes them.

use std::fs::File;
use std::io::{self, BufRead as _, BufReader};
use std::net::{Ipv4Addr, SocketAddr, TcpListener};
use std::os::unix::fs::DirBuilderExt as _;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use rustix::process::{Pid, Signal, kill_process};

use super::failed;
use super::load::Wire;
use hub_cli::Failure;

/// Limits of work that nothing meets.
const UNBOUND: [(&str, &str); 3] = [
    ("REQUESTS_IN_WORK", "1000000"),
    ("REGISTRATION_IN_WORK", "1000000"),
    ("REGISTRATION_AT_ONCE", "1000000"),
];
const START: Duration = Duration::from_secs(30);
const STOP: Duration = Duration::from_secs(20);
/// How much of a child's log is worth showing.
const LOG_LINES: usize = 30;

/// A private folder that is removed at the end.
pub(super) struct Folder(PathBuf);

impl Folder {
    pub(super) fn make(below: &Path) -> Result<Self, Failure> {
        let path = below.join(format!("cipher-hub-bench-{}", std::process::id()));
        std::fs::DirBuilder::new()
            .mode(0o700)
            .create(&path)
            .map_err(|error| Failure::file(&path, &error))?;
        Ok(Self(path))
    }

    pub(super) fn path(&self) -> &Path {
        &self.0
    }
}

impl Drop for Folder {
    fn drop(&mut self) {
        let _ = std::fs::remove_dir_all(&self.0);
    }
}

/// A process, killed when dropped.
struct Process(Child);

impl Process {
    fn spawn(command: &mut Command) -> Result<Self, Failure> {
        let spawned = command.spawn();
        spawned.map(Self).map_err(|error| failed(&format!("cannot start a process: {error}")))
    }

    fn vitals(&self) -> Vitals {
        Vitals { pid: self.0.id() }
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

/// What the kernel knows of a process.
#[derive(Clone, Copy)]
pub(super) struct Vitals {
    pid: u32,
}

impl Vitals {
    /// Of this process.
    pub(super) fn own() -> Self {
        Self { pid: std::process::id() }
    }

    /// Processor time so far, of all threads, in user and kernel mode.
    pub(super) fn processor_time(self) -> Duration {
        let text = std::fs::read_to_string(format!("/proc/{}/stat", self.pid));
        let text = text.unwrap_or_default();
        // proc_pid_stat(5): utime and stime are fields 14 and 15; the second may hold spaces.
        let after_name = text.rsplit_once(')').map_or("", |(_, rest)| rest);
        let fields = after_name.split_ascii_whitespace().skip(11).take(2);
        let ticks: u64 = fields.filter_map(|field| field.parse::<u64>().ok()).sum();
        let per_second = rustix::param::clock_ticks_per_second().max(1);
        Duration::from_millis(ticks.saturating_mul(1000).checked_div(per_second).unwrap_or(0))
    }

    /// Resident memory in bytes.
    pub(super) fn resident(self) -> Option<u64> {
        self.memory("VmRSS:")
    }

    /// The most resident memory in bytes since [`Vitals::forget_peak`].
    pub(super) fn peak(self) -> Option<u64> {
        self.memory("VmHWM:")
    }

    /// Lets the peak start anew (proc_pid_clear_refs(5)). Where that fails, it is that since start.
    pub(super) fn forget_peak(self) {
        let _ = std::fs::write(format!("/proc/{}/clear_refs", self.pid), "5");
    }

    fn memory(self, name: &str) -> Option<u64> {
        let text = std::fs::read_to_string(format!("/proc/{}/status", self.pid)).ok()?;
        let line = text.lines().find_map(|line| line.strip_prefix(name))?;
        let kib: u64 = line.split_ascii_whitespace().next()?.parse().ok()?;
        kib.checked_mul(1024)
    }
}

/// The bare server.
pub(super) struct Bare {
    process: Process,
    pub(super) address: SocketAddr,
}

impl Bare {
    pub(super) fn start() -> Result<Self, Failure> {
        let mut command = Command::new(program()?);
        command.args(["bench", "--bare-server"]).env_clear();
        command.stdin(Stdio::piped()).stdout(Stdio::piped());
        let mut process = Process::spawn(&mut command)?;
        let mut line = String::new();
        if let Some(out) = process.0.stdout.take() {
            let read = BufReader::new(out).read_line(&mut line);
            read.map_err(|error| failed(&format!("the bare server: {error}")))?;
        }
        let address = line.trim().parse().map_err(|_| failed("the bare server did not start"))?;
        Ok(Self { process, address })
    }

    pub(super) fn vitals(&self) -> Vitals {
        self.process.vitals()
    }
}

/// The gateway, as an operator would start it, but for the rate limits.
pub(super) struct Gateway {
    process: Process,
    pub(super) address: SocketAddr,
    pub(super) ready_after: Duration,
}

/// Where a gateway works, kept over its restarts.
#[derive(Clone)]
pub(super) struct Home {
    folder: PathBuf,
}

impl Home {
    pub(super) fn new(folder: &Folder) -> Self {
        Self { folder: folder.path().to_owned() }
    }

    fn data(&self) -> PathBuf {
        self.folder.join("data")
    }

    fn log(&self) -> PathBuf {
        self.folder.join("gateway.log")
    }

    /// The first administrator's API key.
    pub(super) fn admin_key(&self) -> Result<String, Failure> {
        let path = self.data().join("admin.key");
        let text = std::fs::read_to_string(&path).map_err(|e| Failure::file(&path, &e))?;
        Ok(text.trim().to_owned())
    }

    /// The failure, with the last lines of the gateway's log: the folder is about to go.
    pub(super) fn explain(&self, mut failure: Failure) -> Failure {
        let text = std::fs::read(self.log()).unwrap_or_default();
        let text = String::from_utf8_lossy(&text);
        let lines: Vec<_> = text.lines().filter(|line| !line.contains("API_KEY=")).collect();
        let from = lines.len().saturating_sub(LOG_LINES);
        let tail = lines.get(from..).unwrap_or_default();
        failure.details.extend(tail.iter().map(|line| format!("gateway: {line}")));
        failure
    }

    /// Starts a gateway that takes as much as is asked, and waits until it says it is ready.
    pub(super) async fn start(&self) -> Result<Gateway, Failure> {
        self.start_with(&UNBOUND).await
    }

    /// Starts a gateway with these of `limits`, and waits until it says it is ready.
    pub(super) async fn start_with(&self, limits: &[(&str, &str)]) -> Result<Gateway, Failure> {
        self.launch(limits, &[]).await
    }

    /// As [`Home::start`], with these variables in its environment.
    pub(super) async fn start_as(&self, variables: &[(&str, &str)]) -> Result<Gateway, Failure> {
        self.launch(&UNBOUND, variables).await
    }

    async fn launch(
        &self,
        limits: &[(&str, &str)],
        variables: &[(&str, &str)],
    ) -> Result<Gateway, Failure> {
        let [api, management] = free_addresses()?;
        let path = self.log();
        let log = File::create(&path).and_then(|log| Ok((log.try_clone()?, log)));
        let (out, err) = log.map_err(|error| Failure::file(&path, &error))?;
        let mut command = Command::new(program()?);
        command.arg("serve").arg("--data-dir").arg(self.data());
        command.args(["--listen", &api.to_string()]);
        command.args(["--management-listen", &management.to_string()]);
        // Nothing of this process's environment steers what is measured.
        command.env_clear().env("CIPHER_HUB_LOG__FILTER", "warn");
        for limit in ["ADDRESS_PER_SECOND", "ADDRESS_BURST", "PARTICIPANT_PER_SECOND"] {
            command.env(format!("CIPHER_HUB_LIMITS__{limit}"), "1000000000");
        }
        command.env("CIPHER_HUB_LIMITS__PARTICIPANT_BURST", "1000000000");
        for limit in ["MAX_CONNECTIONS", "MAX_CONNECTIONS_PER_ADDRESS"] {
            command.env(format!("CIPHER_HUB_SERVER__{limit}"), "20000");
        }
        for (name, value) in limits {
            command.env(format!("CIPHER_HUB_LIMITS__{name}"), value);
        }
        command.envs(variables.iter().copied());
        command.stdin(Stdio::null()).stdout(out).stderr(err);
        let started = Instant::now();
        let mut process = Process::spawn(&mut command)?;
        while !is_ready(management).await {
            if matches!(process.0.try_wait(), Ok(Some(_))) {
                return Err(failed("the gateway ended at once"));
            }
            if started.elapsed() > START {
                return Err(failed("the gateway does not get ready"));
            }
            tokio::time::sleep(Duration::from_millis(1)).await;
        }
        Ok(Gateway { process, address: api, ready_after: started.elapsed() })
    }
}

impl Gateway {
    pub(super) fn vitals(&self) -> Vitals {
        self.process.vitals()
    }

    /// Stops it as a service manager would.
    pub(super) async fn stop(mut self) -> Result<(), Failure> {
        let pid = i32::try_from(self.process.0.id()).ok().and_then(Pid::from_raw);
        if let Some(pid) = pid {
            let sent = kill_process(pid, Signal::TERM);
            sent.map_err(|error| failed(&format!("cannot stop the gateway: {error}")))?;
        }
        let asked = Instant::now();
        while asked.elapsed() < STOP {
            match self.process.0.try_wait() {
                Ok(None) => tokio::time::sleep(Duration::from_millis(5)).await,
                Ok(Some(status)) if status.success() => return Ok(()),
                Ok(Some(status)) => return Err(failed(&format!("the gateway ended: {status}"))),
                Err(error) => return Err(failed(&format!("the gateway is lost: {error}"))),
            }
        }
        Err(failed("the gateway does not stop"))
    }
}

async fn is_ready(management: SocketAddr) -> bool {
    let Ok(mut wire) = Wire::connect(management).await else { return false };
    wire.ask(b"GET /readyz HTTP/1.1\r\nHost: hub\r\n\r\n").await.is_ok()
}

fn program() -> Result<PathBuf, Failure> {
    std::env::current_exe().map_err(|error| failed(&format!("where is this program? {error}")))
}

/// Two addresses of loopback that are free now.
fn free_addresses() -> Result<[SocketAddr; 2], Failure> {
    let take = || -> io::Result<[SocketAddr; 2]> {
        let one = TcpListener::bind((Ipv4Addr::LOCALHOST, 0))?;
        let two = TcpListener::bind((Ipv4Addr::LOCALHOST, 0))?;
        Ok([one.local_addr()?, two.local_addr()?])
    };
    take().map_err(|error| failed(&format!("no free port: {error}")))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_kernel_tells_about_this_process() {
        let vitals = Vitals::own();
        assert!(vitals.resident().unwrap() > 100_000);
        vitals.forget_peak();
        assert!(vitals.peak().unwrap() > 100_000);
        let before = vitals.processor_time();
        while vitals.processor_time() == before {}
        assert!(vitals.processor_time() > before);
    }

    #[test]
    fn a_folder_goes_with_its_owner() {
        let below = tempfile::tempdir().unwrap();
        let folder = Folder::make(below.path()).unwrap();
        let path = folder.path().to_owned();
        std::fs::write(path.join("file"), "x").unwrap();
        drop(folder);
        assert!(!path.exists());
    }
}
