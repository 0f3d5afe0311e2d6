//! HTTP/2 by TLS on both sides: with clients, and with upstreams that offer it.

use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::Ordering;

use bytes::Bytes;
use http::{HeaderMap, Method};
use http_body_util::BodyExt as _;
use hyper::body::Frame;
use tempfile::TempDir;

use super::super::support::certificates::Authority;
use super::super::support::http2::Http2;
use super::super::support::http2_client::{Answer, Client, Content, request, run};
use super::super::support::program::{Program, free_address};

/// A Weir with TLS before an upstream with TLS, both for HTTP/2.
struct Scene {
    upstream: Http2,
    authority: Authority,
    listen: SocketAddr,
    _files: TempDir,
    _program: Program,
}

impl Scene {
    fn open() -> Self {
        let (authority, files) = (Authority::new(), tempfile::tempdir().unwrap());
        let upstream = Http2::start_secure(100, &authority.sign(&["localhost"]));
        authority.write(files.path(), "ca");
        authority.sign(&["shop.test"]).write(files.path(), "web");
        let (listen, port) = (free_address(), upstream.address.port());
        let folder = files.path().display();
        let program = Program::start(&format!(
            "[admin]\nlisten = \"ADMIN\"\n[proxy]\nworkers = 1\n[[listener]]\nlisten = \
             \"{listen}\"\ntls = {{ certificates = [{{ chain = \"{folder}/web.pem\", key = \
             \"{folder}/web.key\" }}] }}\n[[tier]]\nname = \"web\"\nlisten = \"{listen}\"\n\
             stable = \"1\"\nreleases = [{{ version = \"1\", upstreams = \
             [\"https://localhost:{port}\"], tls = {{ ca = \"{folder}/ca.pem\" }} }}]\n"
        ));
        Self { upstream, authority, listen, _files: files, _program: program }
    }

    async fn client(&self) -> Client {
        Client::secure(self.listen, "shop.test", &self.authority.pem).await.unwrap()
    }
}

#[test]
fn bodies_and_trailers_pass_both_ways_at_once() {
    let scene = Scene::open();
    run(async {
        let client = scene.client().await;
        let (body, content) = Content::piecewise();
        let fields = [("te", "trailers"), ("trailer", "x-sum")];
        let mut answer =
            client.send(request(Method::POST, "/echo", &fields, content)).await.unwrap();
        assert_eq!(answer.status(), 200);
        for word in ["one", "two", "three"] {
            // The next piece is sent only when this one has come back.
            body.send(Frame::data(Bytes::from(word))).unwrap();
            let frame = answer.body_mut().frame().await.unwrap().unwrap();
            assert_eq!(frame.into_data().unwrap(), word);
        }
        let mut trailers = HeaderMap::new();
        trailers.insert("x-sum", "11".parse().unwrap());
        body.send(Frame::trailers(trailers)).unwrap();
        drop(body);
        let rest = Answer::read(answer).await;
        assert!(rest.whole && rest.body.is_empty());
        assert_eq!(rest.trailers["x-bytes"], "11");
        assert_eq!(rest.trailers["x-came"], "x-sum=\"11\"");
        let head = scene.upstream.last_head();
        assert!(head.contains("\"x-forwarded-proto\": \"https\""), "{head}");
        // As gRPC does when there is nothing to say.
        let only = client.get("/only-trailers", &[]).await;
        assert_eq!((only.field("grpc-status"), only.whole), (Some("5"), true));
    });
}

#[test]
fn many_streams_share_few_connections_and_what_breaks_is_seen() {
    let scene = Scene::open();
    run(async {
        let client = Arc::new(scene.client().await);
        assert_eq!(client.get("/", &[]).await.status, 200);
        let before = scene.upstream.state.connections.load(Ordering::SeqCst);
        let asked: Vec<_> = (0..40)
            .map(|number| {
                let client = Arc::clone(&client);
                let length = 10_000 * number + 1;
                let get = async move { client.get(&format!("/big?{length}"), &[]).await };
                (length, tokio::spawn(get))
            })
            .collect();
        for (length, asked) in asked {
            let answer = asked.await.unwrap();
            assert!(answer.whole && answer.body.len() == length, "{length}: {answer:?}");
            assert!(answer.body.iter().all(|byte| *byte == b'x'));
        }
        // Checks of health open some.
        let opened = scene.upstream.state.connections.load(Ordering::SeqCst) - before;
        assert!(opened < 20, "{opened} for 40 requests at once");
        assert_eq!(client.get("/reset", &[]).await.status, 502);
        let cut = client.get("/cut", &[]).await;
        assert_eq!((cut.text().as_str(), cut.whole), ("half", false));
        assert_eq!(client.get("/", &[]).await.status, 200, "the connection goes on");
    });
}
