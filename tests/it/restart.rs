//! Restart under a steady load: a next process beside the old one, and a next process on sockets that outlive both.

use crate::support::{
    DEADLINE, Fingerpost, Load, Process, dig, fingerpost, free_port, http_get, root, run, tool, wait_for,
};
use std::net::{Ipv4Addr, SocketAddr, TcpListener, TcpStream, UdpSocket};
use std::os::fd::OwnedFd;
use std::os::unix::net::UnixDatagram;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::Duration;
use tempfile::TempDir;

const ZONE: &str = "$TTL 60\n@ SOA ns1 h 1 3600 600 86400 2\n@ NS ns1\nns1 A 192.0.2.53\nwww A 192.0.2.1\n";

/// Writes a configuration that listens for DNS here; HTTP anywhere.
fn configuration(folder: &Path, dns: SocketAddr, more: &str) -> PathBuf {
    std::fs::write(folder.join("kafka.zone"), ZONE).unwrap();
    let text = format!(
        "[registry]\nurl = \"memory:\"\n[dns]\nlisten = [\"{dns}\"]\n[[dns.zone]]\napex = \"kafka.example\"\n\
         file = \"kafka.zone\"\n[admin]\nlisten = \"127.0.0.1:0\"\n{more}"
    );
    let file = folder.join("fingerpost.toml");
    std::fs::write(&file, text).unwrap();
    file
}

fn wait_until_ready(server: &mut Fingerpost) {
    let admin = server.admin();
    wait_for("the server to be ready", DEADLINE, || http_get(admin, "/ready").0 == 200);
}

#[test]
fn the_next_process_takes_over_beside_the_old_one_without_a_lost_query() {
    let folder = TempDir::new().unwrap();
    let dns = (Ipv4Addr::LOCALHOST, free_port()).into();
    let file = configuration(folder.path(), dns, "[process]\nshare_addresses = true\n");
    let start = || {
        let mut server = fingerpost(&["serve", "--config", &file.to_string_lossy()]);
        wait_until_ready(&mut server);
        server
    };
    let mut old = start();
    let load = Load::start(dns, "www.kafka.example", 2);
    load.goes_on(500);
    for _ in 0..6 {
        let next = start();
        load.goes_on(200);
        assert!(old.process().stop().success());
        load.goes_on(500);
        old = next;
    }
    let outcome = load.stop();
    assert_eq!(outcome.sent, outcome.answered, "{outcome:?}");
    // Without the setting on both sides, nobody shares.
    let alone = configuration(folder.path(), dns, "");
    let mut other = fingerpost(&["serve", "--config", &alone.to_string_lossy()]);
    other.process().wait_for_text("it is in use");
}

/// What systemd does: it holds the sockets, and starts the service with them as descriptors 3 and 4.
struct Activator {
    udp: UdpSocket,
    tcp: TcpListener,
    folder: TempDir,
}

struct Service(Child);

impl Activator {
    fn start(&self) -> Service {
        let program = env!("CARGO_BIN_EXE_fingerpost");
        let script = format!(
            "exec 3<&0 4<&1 0</dev/null 1>>{0}/out 2>>{0}/err; export LISTEN_FDS=2 LISTEN_PID=$$ \
             NOTIFY_SOCKET={0}/notify; exec {program} serve --config {0}/fingerpost.toml",
            self.folder.path().display()
        );
        let mut command = Command::new("sh");
        command.args(["-c", &script]);
        command.stdin(Stdio::from(OwnedFd::from(self.udp.try_clone().unwrap())));
        command.stdout(Stdio::from(OwnedFd::from(self.tcp.try_clone().unwrap())));
        Service(command.spawn().unwrap())
    }
}

impl Service {
    fn stop(mut self) {
        let pid = self.0.id().to_string();
        run("kill", Command::new("kill").args(["-TERM", &pid])).ok();
        wait_for("the service to end", DEADLINE, || self.0.try_wait().unwrap().is_some());
    }
}

impl Drop for Service {
    fn drop(&mut self) {
        let _ = self.0.kill(); // it has ended, unless the test failed
        let _ = self.0.wait();
    }
}

#[test]
fn on_sockets_that_outlive_it_a_restart_loses_no_query_and_no_connection() {
    let udp = UdpSocket::bind("127.0.0.1:0").unwrap();
    let dns = udp.local_addr().unwrap();
    let folder = TempDir::new().unwrap();
    configuration(folder.path(), dns, "");
    let manager = UnixDatagram::bind(folder.path().join("notify")).unwrap();
    manager.set_read_timeout(Some(DEADLINE)).unwrap();
    let told = || {
        let mut text = [0; 64];
        let len = manager.recv(&mut text).unwrap();
        String::from_utf8_lossy(&text[..len]).into_owned()
    };
    let activator = Activator { udp, tcp: TcpListener::bind(dns).unwrap(), folder };
    let service = activator.start();
    assert_eq!(told(), "READY=1\n");
    let load = Load::start(dns, "www.kafka.example", 2);
    load.goes_on(500);
    let mut service = Some(service);
    for _ in 0..5 {
        service.take().unwrap().stop();
        assert_eq!(told(), "STOPPING=1\n");
        // Nobody is there; both are answered by the next process.
        let waiting = TcpStream::connect(dns).expect("connections wait, too");
        let asking = std::thread::spawn(move || dig(dns, &["www.kafka.example", "A", "+tcp"]).answer.len());
        service = Some(activator.start());
        assert_eq!(told(), "READY=1\n");
        assert_eq!(asking.join().unwrap(), 1);
        drop(waiting);
        load.goes_on(500);
    }
    let outcome = load.stop();
    assert_eq!(outcome.sent, outcome.answered, "{outcome:?}");
    service.take().unwrap().stop();
}

#[test]
fn the_units_are_what_systemd_takes() {
    let folder = TempDir::new().unwrap();
    let mut verify = tool("systemd-analyze");
    verify.arg("verify");
    for name in ["fingerpost.service", "fingerpost.socket"] {
        let text = std::fs::read_to_string(root().join("deploy/systemd").join(name)).unwrap();
        let here = text.replace("/usr/bin/fingerpost", env!("CARGO_BIN_EXE_fingerpost"));
        std::fs::write(folder.path().join(name), here).unwrap();
        verify.arg(folder.path().join(name));
    }
    let mut process = Process::spawn("systemd-analyze", &mut verify);
    let status = process.wait_exit_within(Duration::from_secs(30));
    let said: String = process.stderr().lines().filter(|line| line.contains("fingerpost")).collect();
    assert!(status.success() && said.is_empty(), "{}", process.log());
}
