//! Zone detection against services that answer as the clouds document it, and as badly as a network can.

use crate::detect_service::{Reaction, Request, Service, azure, ec2, ecs, gcp, nobody, ok, status};
use fingerpost::agent::detect::{
    Attempt, Detected, Endpoints, Environment, Options, Outcome, Source, Undetected, detect,
};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

/// For what is expected to answer, on a machine under load.
const AMPLE: Duration = Duration::from_secs(10);
/// For what is expected to run into its deadline.
const SHORT: Duration = Duration::from_millis(400);
/// What a machine under load may add to any wait.
const SLACK: Duration = Duration::from_secs(2);

/// Makes one kind of nonsense.
type Kind = dyn Fn() -> Reaction + Send + Sync;

fn within(deadline: Duration) -> Options {
    Options { deadline, ..Options::default() }
}

fn environment(pairs: &[(&str, &str)]) -> Environment {
    pairs.iter().copied().collect()
}

/// Where nobody is; a test puts its services in.
fn endpoints() -> Endpoints {
    Endpoints {
        aws: nobody(),
        gcp: nobody(),
        azure: nobody(),
        service_account: "/nonexistent/serviceaccount".into(),
    }
}

fn all_at(service: &Service) -> Endpoints {
    Endpoints { aws: service.url(), gcp: service.url(), azure: service.url(), ..endpoints() }
}

fn ecs_at(service: &Service) -> Environment {
    environment(&[("ECS_CONTAINER_METADATA_URI_V4", &format!("{}/v4/abc-123", service.url()))])
}

fn outcome(tried: &[Attempt], source: Source) -> &Outcome {
    &tried.iter().find(|attempt| attempt.source == source).expect("every source is listed").outcome
}

/// The words about a source that found nothing.
fn why(result: &Result<Detected, Undetected>, source: Source) -> String {
    let tried = match result {
        Ok(detected) => &detected.tried,
        Err(undetected) => undetected.tried(),
    };
    match outcome(tried, source) {
        Outcome::NotHere(why) | Outcome::NoZone(why) | Outcome::Failed(why) => why.clone(),
        other => panic!("{source}: {other:?}"),
    }
}

#[tokio::test]
async fn the_operators_word_is_taken_and_nobody_is_asked() {
    let services = [ecs, ec2, gcp].map(Service::start);
    let [ecs, ec2, gcp] = &services;
    let uri = ecs.url();
    let set = |zone| {
        environment(&[
            ("FINGERPOST_ZONE", zone),
            ("ECS_CONTAINER_METADATA_URI_V4", &uri),
            ("KUBERNETES_SERVICE_HOST", "127.0.0.1"),
        ])
    };
    let endpoints = Endpoints { aws: ec2.url(), gcp: gcp.url(), azure: gcp.url(), ..endpoints() };

    let options = Options { exhaustive: true, ..Options::default() };
    let detected = detect(&set(" Rack-7\n"), &endpoints, options.clone()).await.unwrap();
    assert_eq!((detected.zone.as_str(), detected.source), ("rack-7", Source::Named));
    assert_eq!(detected.to_string(), "zone rack-7 from FINGERPOST_ZONE");

    let error = detect(&set("eu.west"), &endpoints, options).await.unwrap_err();
    assert!(matches!(error, Undetected::Named { .. }), "{error:?}");
    assert!(error.to_string().starts_with("FINGERPOST_ZONE is \"eu.west\", which is no zone"), "{error}");

    assert!(services.iter().all(|service| service.connections() == 0));
}

#[tokio::test]
async fn an_empty_word_is_no_word() {
    let service = Service::start(ec2);
    let set = environment(&[("FINGERPOST_ZONE", "")]);
    let endpoints = Endpoints { aws: service.url(), ..endpoints() };
    let detected = detect(&set, &endpoints, within(AMPLE)).await.unwrap();
    assert_eq!((detected.zone.as_str(), detected.source), ("us-east-1a", Source::Ec2));
}

#[tokio::test]
async fn on_ec2_a_token_is_asked_for_and_the_others_are_told_apart() {
    let service = Service::start(ec2);
    let options = Options { exhaustive: true, ..within(AMPLE) };
    let detected = detect(&Environment::default(), &all_at(&service), options).await.unwrap();
    assert_eq!((detected.zone.as_str(), detected.source), ("us-east-1a", Source::Ec2));
    let line = detected.to_string();
    assert!(line.starts_with("zone us-east-1a from EC2 (IMDSv2) in "), "{line}");
    for part in [
        "ECS: not in ECS (no ECS_CONTAINER_METADATA_URI_V4), ",
        "Kubernetes: not in Kubernetes (no KUBERNETES_SERVICE_HOST), ",
        "GCP: not GCP (answered HTTP 401 without Metadata-Flavor: Google), ",
        "Azure: not Azure (answered HTTP 401)",
    ] {
        assert!(line.contains(part), "{part} is not in: {line}");
    }
    assert!(!line.contains('\n'));
    let asked = service.lines();
    let of_ec2: Vec<_> = asked.iter().filter(|line| line.contains("/latest/")).collect();
    assert_eq!(of_ec2, ["PUT /latest/api/token", "GET /latest/meta-data/placement/availability-zone"]);
    assert_eq!(asked.len(), 4, "{asked:?}");
}

#[tokio::test]
async fn the_zone_id_is_asked_for_by_its_own_path() {
    let service = Service::start(ec2);
    let options = Options { zone_id: true, ..within(AMPLE) };
    let endpoints = Endpoints { aws: service.url(), ..endpoints() };
    let detected = detect(&Environment::default(), &endpoints, options.clone()).await.unwrap();
    assert_eq!(detected.zone.as_str(), "use1-az2");

    // ECS has no id here: its name must not be taken for one.
    let task = Service::start(ecs);
    let result = detect(&ecs_at(&task), &super::detect::endpoints(), options).await;
    assert!(why(&result, Source::Ecs).contains("no AvailabilityZoneID"), "{result:?}");
}

#[tokio::test]
async fn ec2s_refusals_are_explained_and_version_1_is_never_tried() {
    for (code, explanation) in [
        (403, "--http-endpoint enabled"),
        (404, "not EC2 (HTTP 404 to the token request"),
        (405, "not EC2 (HTTP 405 to the token request"),
        (302, "answered HTTP 302 to send us elsewhere"),
    ] {
        let service = Service::start(move |request| match request.method.as_str() {
            "PUT" => status(code),
            _ => ok("us-east-1a"), // as version 1 would
        });
        let endpoints = Endpoints { aws: service.url(), ..endpoints() };
        let result = detect(&Environment::default(), &endpoints, within(AMPLE)).await;
        assert!(why(&result, Source::Ec2).contains(explanation), "{code}: {result:?}");
        assert_eq!(service.lines(), ["PUT /latest/api/token"]);
    }
    let silent = Service::start(|_| Reaction::Silent);
    let endpoints = Endpoints { aws: silent.url(), ..endpoints() };
    let result = detect(&Environment::default(), &endpoints, within(SHORT)).await;
    let why = why(&result, Source::Ec2);
    assert!(why.starts_with("no answer in 400ms to the token request"), "{why}");
    assert!(why.contains("--http-put-response-hop-limit 2"), "{why}");
}

#[tokio::test]
async fn what_is_no_token_is_not_sent_on() {
    for token in ["<html>log in</html>", "<x>", "two words", "", "tökén"] {
        let service = Service::start(move |_| ok(token));
        let endpoints = Endpoints { aws: service.url(), ..endpoints() };
        let result = detect(&Environment::default(), &endpoints, within(AMPLE)).await;
        assert!(why(&result, Source::Ec2).contains("which is no token"), "{result:?}");
        assert_eq!(service.lines(), ["PUT /latest/api/token"]);
    }
    let refusing = Service::start(|request| match request.method.as_str() {
        "PUT" => ok("token"),
        _ => status(401),
    });
    let endpoints = Endpoints { aws: refusing.url(), ..endpoints() };
    let result = detect(&Environment::default(), &endpoints, within(AMPLE)).await;
    assert!(why(&result, Source::Ec2).contains("the token that it gave is refused (HTTP 401)"), "{result:?}");
}

#[tokio::test]
async fn on_gcp_the_reply_must_carry_the_flavor_too() {
    let service = Service::start(gcp);
    let options = Options { exhaustive: true, ..within(AMPLE) };
    let detected = detect(&Environment::default(), &all_at(&service), options).await;
    let detected = detected.unwrap();
    assert_eq!((detected.zone.as_str(), detected.source), ("europe-west1-b", Source::Gcp));
    let line = detected.to_string();
    assert!(line.contains("EC2 (IMDSv2): not EC2 (Google's metadata server answers here)"), "{line}");

    let impostor = Service::start(|_| ok("projects/1/zones/europe-west1-b"));
    let endpoints = Endpoints { gcp: impostor.url(), ..endpoints() };
    let result = detect(&Environment::default(), &endpoints, within(AMPLE)).await;
    assert!(why(&result, Source::Gcp).contains("without Metadata-Flavor: Google"), "{result:?}");
}

#[tokio::test]
async fn on_azure_a_zone_is_region_and_number_and_a_regional_vm_has_none() {
    let service = Service::start(azure("2"));
    let detected = detect(&Environment::default(), &all_at(&service), within(AMPLE)).await.unwrap();
    assert_eq!((detected.zone.as_str(), detected.source), ("westeurope-2", Source::Azure));

    let regional = Service::start(azure(""));
    let result = detect(&Environment::default(), &all_at(&regional), within(AMPLE)).await;
    let why = why(&result, Source::Azure);
    assert!(why.contains("this VM in \"westeurope\" is in no zone"), "{why}");
    let line = result.unwrap_err().to_string();
    assert!(line.contains("FINGERPOST_ZONE=us-east-1a") && !line.contains("westeurope-"), "{line}");
}

#[tokio::test]
async fn in_ecs_the_task_says_its_zone() {
    let task = Service::start(ecs);
    let detected = detect(&ecs_at(&task), &endpoints(), within(AMPLE)).await.unwrap();
    assert_eq!((detected.zone.as_str(), detected.source), ("us-west-2c", Source::Ecs));
    assert_eq!(task.lines(), ["GET /v4/abc-123/task"]);
}

#[tokio::test]
async fn the_order_is_fixed_however_fast_the_answers_are() {
    let late = |handler: fn(&Request) -> Reaction| {
        move |request: &Request| Reaction::Late(Duration::from_millis(300), Box::new(handler(request)))
    };
    let (task, instance, machine) =
        (Service::start(late(ecs)), Service::start(late(ec2)), Service::start(gcp));
    let cloud = Service::start(azure("1"));
    let endpoints = Endpoints { aws: instance.url(), gcp: machine.url(), azure: cloud.url(), ..endpoints() };
    let options = Options { exhaustive: true, ..within(AMPLE) };
    let first = detect(&ecs_at(&task), &endpoints, options.clone()).await.unwrap();
    assert_eq!((first.zone.as_str(), first.source), ("us-west-2c", Source::Ecs));
    let others: Vec<_> = first.contradictions().map(|(source, zone)| format!("{source}={zone}")).collect();
    assert_eq!(others, ["EC2 (IMDSv2)=us-east-1a", "GCP=europe-west1-b", "Azure=westeurope-1"]);

    let second = detect(&Environment::default(), &endpoints, options.clone()).await.unwrap();
    assert_eq!(second.source, Source::Ec2);
    let without_ec2 = Endpoints { aws: nobody(), ..endpoints };
    let third = detect(&Environment::default(), &without_ec2, options).await.unwrap();
    assert_eq!(third.source, Source::Gcp);
}

#[tokio::test]
async fn a_result_that_stands_waits_for_nobody() {
    let (task, silent) = (Service::start(ecs), Service::start(|_| Reaction::Silent));
    let begun = Instant::now();
    let detected = detect(&ecs_at(&task), &all_at(&silent), within(AMPLE)).await.unwrap();
    assert!(begun.elapsed() < AMPLE / 2, "{:?}", begun.elapsed());
    assert_eq!(outcome(&detected.tried, Source::Azure), &Outcome::NotAwaited);
    assert!(detected.to_string().contains("Azure: not waited for"), "{detected}");
}

#[tokio::test]
async fn all_are_asked_at_once_and_the_whole_is_bounded() {
    let silent = Service::start(|_| Reaction::Silent);
    let begun = Instant::now();
    let deadline = Duration::from_millis(1_500);
    let error = detect(&ecs_at(&silent), &all_at(&silent), within(deadline)).await.unwrap_err();
    let took = begun.elapsed();
    // One after the other would take four times as long.
    assert!(took >= deadline && took < deadline + SLACK, "{took:?}");
    assert_eq!(silent.connections(), 4);
    let line = error.to_string();
    assert!(line.contains("GCP: no answer in 1s 500ms ("), "{line}");
    assert!(
        line.starts_with("no availability zone was found; name it with --zone or FINGERPOST_ZONE"),
        "{line}"
    );
}

#[tokio::test]
async fn nonsense_of_any_kind_is_no_zone_and_no_harm() {
    let login = "<!DOCTYPE html><html><title>Log in to Guest WiFi</title></html>";
    let flavored = |body: String| Reaction::Reply(200, vec![("Metadata-Flavor", "Google".to_owned())], body);
    let raw = |bytes: &[u8]| Reaction::Raw(bytes.to_vec());
    // What happens, how ECS' outcome words it, and how it is done.
    let kinds: [(&str, &str, Box<Kind>); 18] = [
        ("reset", "was cut", Box::new(|| Reaction::Reset)),
        ("closed", "was cut", Box::new(|| Reaction::Raw(Vec::new()))),
        ("half a header", "was cut", Box::new(move || raw(b"HTTP/1.1 200 OK\r\nContent-"))),
        ("half a body", "was cut", Box::new(move || raw(b"HTTP/1.1 200 OK\r\nContent-Length: 9\r\n\r\nus-"))),
        ("another protocol", "is not HTTP", Box::new(move || raw(b"SSH-2.0-OpenSSH_9.6\r\n"))),
        ("noise", "is not HTTP", Box::new(|| Reaction::Raw((0..=255).cycle().take(4096).collect()))),
        ("a login page", "answered \"<!DOCTYPE html>", Box::new(move || flavored(login.to_owned()))),
        ("a large body", "larger than 65536", Box::new(move || flavored("z".repeat(65_537)))),
        ("an endless body", "larger than 65536", Box::new(|| Reaction::Flood)),
        ("a drip", "no answer in 400ms", Box::new(|| Reaction::Drip)),
        (
            "an endless header",
            "larger than 16384",
            Box::new(move || raw(format!("HTTP/1.1 200 OK\r\nX: {}", "y".repeat(200_000)).as_bytes())),
        ),
        ("nothing", "answered \"\"", Box::new(|| ok(""))),
        (
            "no UTF-8",
            "no task",
            Box::new(move || raw(b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\n\xff\xfe")),
        ),
        ("a long text", "no task", Box::new(|| ok(&format!("{:?}", "z".repeat(60_000))))),
        (
            "a long zone",
            "no task",
            Box::new(move || flavored(format!("projects/1/zones/{}", "z".repeat(61)))),
        ),
        ("500", "answered HTTP 500", Box::new(|| status(500))),
        ("404", "answered HTTP 404", Box::new(|| status(404))),
        ("418", "answered HTTP 418", Box::new(|| status(418))),
    ];
    for (kind, of_ecs, reaction) in kinds {
        let service = Service::start(move |_| reaction());
        // What is answered at once needs no short deadline, which a busy machine might not keep.
        let deadline = if of_ecs.contains("no answer") { SHORT } else { AMPLE };
        let begun = Instant::now();
        let result = detect(&ecs_at(&service), &all_at(&service), within(deadline)).await;
        assert!(begun.elapsed() < deadline + SLACK, "{kind}: {:?}", begun.elapsed());
        let error = result.expect_err(kind);
        for source in [Source::Ecs, Source::Ec2, Source::Gcp, Source::Azure] {
            let words = why(&Err(error.clone()), source);
            assert!(!words.contains("its thread"), "{kind}: {source}: {words}");
            assert!(source != Source::Ecs || words.contains(of_ecs), "{kind}: {words}");
        }
        let line = error.to_string();
        assert!(line.len() < 2_500 && !line.contains(['\n', '\r', '\u{1b}']), "{kind}: {line}");
    }
}

#[tokio::test]
async fn a_redirect_is_not_followed() {
    let elsewhere = Service::start(|_| ok("us-east-1a"));
    let location = format!("{}/elsewhere", elsewhere.url());
    for code in [301, 302, 303, 307, 308] {
        let location = location.clone();
        let service = Service::start(move |_| {
            Reaction::Reply(code, vec![("Location", location.clone())], String::new())
        });
        let result = detect(&ecs_at(&service), &all_at(&service), within(AMPLE)).await;
        for source in [Source::Ecs, Source::Ec2, Source::Gcp, Source::Azure] {
            assert!(
                why(&result, source).contains(&format!("HTTP {code} to send us elsewhere")),
                "{result:?}"
            );
        }
    }
    assert_eq!(elsewhere.connections(), 0);
}

#[tokio::test]
async fn a_chunked_answer_is_an_answer() {
    let service = Service::start(|_| Reaction::Chunked(r#"{"AvailabilityZone":"us-west-2d"}"#.to_owned()));
    let detected = detect(&ecs_at(&service), &endpoints(), within(AMPLE)).await.unwrap();
    assert_eq!(detected.zone.as_str(), "us-west-2d");
}

#[tokio::test]
async fn a_service_that_is_just_starting_is_asked_again() {
    for trouble in [|| status(503), || status(429), || Reaction::Reset] {
        let seen = AtomicUsize::new(0);
        let service = Service::start(move |request| match seen.fetch_add(1, Ordering::SeqCst) {
            0 | 1 => trouble(),
            _ => ec2(request),
        });
        let endpoints = Endpoints { aws: service.url(), ..endpoints() };
        let detected = detect(&Environment::default(), &endpoints, within(AMPLE)).await.unwrap();
        assert_eq!(detected.zone.as_str(), "us-east-1a");
    }
    let service = Service::start(|_| status(503));
    let endpoints = Endpoints { aws: service.url(), ..endpoints() };
    let result = detect(&Environment::default(), &endpoints, within(AMPLE)).await;
    assert_eq!(why(&result, Source::Ec2), "answered HTTP 503 to the token request");
    assert_eq!(service.lines().len(), 3, "asked again, but not for ever");
}

#[tokio::test]
async fn a_service_that_is_switched_off_for_the_process_is_not_asked() {
    let service = Service::start(ec2);
    let set = environment(&[("AWS_EC2_METADATA_DISABLED", "true")]);
    let endpoints = Endpoints { aws: service.url(), ..endpoints() };
    let result = detect(&set, &endpoints, within(AMPLE)).await;
    assert_eq!(why(&result, Source::Ec2), "not asked (AWS_EC2_METADATA_DISABLED is true)");
    assert_eq!(service.connections(), 0);
}

#[tokio::test]
async fn a_base_url_that_is_none_is_an_error_and_no_crash() {
    let service = Service::start(ecs);
    let secure = service.url().replace("http:", "https:");
    let set = environment(&[("ECS_CONTAINER_METADATA_URI_V4", &secure)]);
    let result = detect(&set, &endpoints(), within(AMPLE)).await;
    assert!(why(&result, Source::Ecs).contains("does not begin with http://"), "{result:?}");
    for url in
        ["https://127.0.0.1:1", "127.0.0.1", "http://", "http://[::1", "file:///etc/passwd", "http://a b/"]
    {
        let set = environment(&[("ECS_CONTAINER_METADATA_URI_V4", url)]);
        let result = detect(&set, &endpoints(), within(AMPLE)).await;
        assert!(!why(&result, Source::Ecs).contains("its thread"), "{url}: {result:?}");
    }
}
