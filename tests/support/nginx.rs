//! An nginx in front.

use std::fs;
use std::net::SocketAddr;
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use super::program::get;

/// How long it may take to answer.
const READY_MAX: Duration = Duration::from_mins(2);

/// An nginx that ends with the test.
pub struct Nginx {
    child: Child,
    folder: tempfile::TempDir,
}

impl Nginx {
    /// Starts one with `blocks` inside `http`, and waits until something answers at `listen`.
    pub fn start(listen: &str, blocks: &str) -> Self {
        let folder = tempfile::tempdir().expect("a folder");
        write(folder.path(), blocks);
        let log = fs::File::create(folder.path().join("log")).expect("a log");
        let child = command(folder.path()).stderr(log).spawn().expect("nginx starts");
        let nginx = Self { child, folder };
        let address: SocketAddr = listen.parse().expect("an address");
        let since = Instant::now();
        while get(address, "/up").is_none() {
            assert!(since.elapsed() < READY_MAX, "{}", nginx.log());
            std::thread::sleep(Duration::from_millis(20));
        }
        nginx
    }

    /// Takes other `blocks`, as `nginx -s reload` does.
    pub fn reload(&self, blocks: &str) {
        write(self.folder.path(), blocks);
        let told = command(self.folder.path()).args(["-s", "reload"]).output().expect("nginx");
        assert!(told.status.success(), "{}", String::from_utf8_lossy(&told.stderr));
    }

    /// What it complained of.
    pub fn log(&self) -> String {
        fs::read_to_string(self.folder.path().join("log")).unwrap_or_default()
    }
}

impl Drop for Nginx {
    fn drop(&mut self) {
        // Its workers end with it when it is asked.
        let _ = command(self.folder.path()).args(["-s", "stop"]).output();
        let since = Instant::now();
        while since.elapsed() < READY_MAX && self.child.try_wait().is_ok_and(|end| end.is_none()) {
            std::thread::sleep(Duration::from_millis(10));
        }
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

fn command(folder: &Path) -> Command {
    let mut command = Command::new("nginx");
    command
        .args(["-e", "stderr", "-c"])
        .arg(folder.join("nginx.conf"))
        .env("PATH", "/usr/sbin:/usr/bin:/sbin:/bin")
        .stdin(Stdio::null())
        .stdout(Stdio::null());
    command
}

fn write(folder: &Path, blocks: &str) {
    let at = folder.display();
    let user = if rustix::process::geteuid().is_root() { "user root;" } else { "" };
    let text = format!(
        "{user} daemon off; worker_processes 1; error_log stderr; pid {at}/pid;\nevents {{}}\nhttp {{\n\
         access_log off; client_body_temp_path {at}/b; proxy_temp_path {at}/p; fastcgi_temp_path \
         {at}/f; uwsgi_temp_path {at}/u; scgi_temp_path {at}/s;\n{blocks}\n}}\n"
    );
    fs::write(folder.join("nginx.conf"), text).expect("the configuration is written");
}
