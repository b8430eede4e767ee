//! A Kafka listener's keys that hang together: whose clients come, TLS, proxies in front.

use super::super::problem::Problems;
use super::super::read::Instance;
use super::super::{AgentsConfig, ClientAuth, GroupBy, ProxyConfig, TlsConfig, TopicSource};
use super::find_file;
use std::path::{Path, PathBuf};

/// Whose clients come. There is no default: it would lead clients into a group that is not theirs.
pub(super) fn clients(section: &Instance, problems: &mut Problems) -> Option<GroupBy> {
    let (sni, source) = (section.flag("group_by_sni")?, section.flag("group_by_source")?);
    let group = section.groups("group").into_iter().next();
    match (group, sni || source) {
        (Some(group), false) => Some(GroupBy::Listener(group)),
        (None, true) => Some(GroupBy::Connection { sni, source }),
        (Some(_), true) => {
            let hint = "leave group out, or group_by_sni and group_by_source".to_owned();
            let what = "kafka.listener: with a group of its own, nothing else can tell the group";
            problems.error(section.origin("group"), what, Some(hint));
            None
        }
        // A group that is there and was refused was reported already.
        (None, false) => {
            if !section.is_refused("group") {
                let hint = "add group = \"vpc-1\", or group_by_sni = true, or group_by_source = true";
                let what = "kafka.listener: nothing tells the group of its clients";
                problems.error(section.at, what, Some(hint.to_owned()));
            }
            None
        }
    }
}

/// TLS, where there are certificates.
pub(super) fn tls(section: &Instance, folder: &Path, problems: &mut Problems) -> Option<TlsConfig> {
    let files = |key: &str| -> Vec<PathBuf> {
        section.texts(key).iter().map(|file| find_file(folder, Path::new(file))).collect()
    };
    let (certificates, keys) = (files("certificates"), files("keys"));
    if certificates.is_empty() {
        let alone = ["keys", "client_ca"].into_iter().find(|key| section.is_given(key));
        let alone = alone.or((section.text("client_auth") != Some("off")).then_some("client_auth"));
        if let Some(key) = alone.filter(|_| !section.is_refused("certificates")) {
            let hint = Some("add certificates = [\"…\"]".to_owned());
            problems.error(section.origin(key), format!("kafka.listener: {key} without certificates"), hint);
        }
        return None;
    }
    if !keys.is_empty() && keys.len() != certificates.len() {
        let what = format!("kafka.listener: {} certificates and {} keys", certificates.len(), keys.len());
        let hint = "give a key for each certificate, in the same order, or none where each file holds both";
        problems.error(section.origin("keys"), what, Some(hint.to_owned()));
    }
    let keys = if keys.is_empty() { certificates.clone() } else { keys };
    Some(TlsConfig {
        identities: certificates.into_iter().zip(keys).collect(),
        clients: client_auth(section, folder, problems),
        handshake: section.time("handshake_timeout")?,
    })
}

fn client_auth(section: &Instance, folder: &Path, problems: &mut Problems) -> ClientAuth {
    let ca = section.text("client_ca").map(|file| find_file(folder, Path::new(file)));
    match (section.text("client_auth"), ca) {
        (Some("optional"), Some(ca)) => ClientAuth::Optional(ca),
        (Some("required"), Some(ca)) => ClientAuth::Required(ca),
        (Some("optional" | "required"), None) => {
            let hint = Some("add client_ca: the authorities whose client certificates are good".to_owned());
            problems.error(
                section.origin("client_auth"),
                "kafka.listener: client_auth without client_ca",
                hint,
            );
            ClientAuth::Off
        }
        (_, Some(_)) => {
            let hint = Some("add client_auth = \"required\" (or \"optional\")".to_owned());
            let what = "kafka.listener: client_ca, and no client is asked for a certificate";
            problems.error(section.origin("client_ca"), what, hint);
            ClientAuth::Off
        }
        _ => ClientAuth::Off,
    }
}

/// Proxies in front, where they say who the client is.
pub(super) fn proxy(section: &Instance, problems: &mut Problems) -> Option<ProxyConfig> {
    let trusted = section.texts("trusted_proxies");
    let required = match section.text("proxy_protocol")? {
        "off" if section.is_given("trusted_proxies") => {
            let hint = Some("add proxy_protocol = \"required\" (or \"optional\")".to_owned());
            let what = "kafka.listener: trusted_proxies, and proxy_protocol is off";
            problems.error(section.origin("trusted_proxies"), what, hint);
            return None;
        }
        "off" => return None,
        mode => mode == "required",
    };
    if trusted.is_empty() {
        if !section.is_refused("trusted_proxies") {
            let hint = "name the load balancers, such as [\"10.0.0.0/24\"]: whoever may send the header can be \
                        any client he likes";
            let what = "kafka.listener: proxy_protocol without trusted_proxies";
            problems.error(section.origin("proxy_protocol"), what, Some(hint.to_owned()));
        }
        return None;
    }
    if let Some(all) = trusted.iter().find(|network| network.ends_with("/0")) {
        let hint = Some("name only the load balancers".to_owned());
        let what = format!("kafka.listener: {all} lets every client pretend to be any other");
        problems.warning(section.origin("trusted_proxies"), what, hint);
    }
    Some(ProxyConfig { required, trusted })
}

/// How agents are reached, where the topics of the listener's cluster come from `topics`.
pub(super) fn agents(
    section: &Instance,
    topics: Option<&TopicSource>,
    folder: &Path,
    problems: &mut Problems,
) -> Option<AgentsConfig> {
    let file = |key: &str| section.text(key).map(|file| find_file(folder, Path::new(file)));
    if topics != Some(&TopicSource::Agents) {
        let keys = ["agents_ca", "agents_certificate", "agents_key"];
        let given = keys.into_iter().find(|key| section.is_given(key));
        let given = given
            .or((section.flag("agents_proxy_protocol") == Some(true)).then_some("agents_proxy_protocol"));
        if let Some(key) = given.filter(|_| topics.is_some()) {
            let hint = Some("add topics = { source = \"agents\" } to its [[cluster]]".to_owned());
            let what = format!("kafka.listener: {key}, and the cluster's topics do not come from agents");
            problems.error(section.origin(key), what, hint);
        }
        return None;
    }
    let (ca, certificate, key) = (file("agents_ca"), file("agents_certificate"), file("agents_key"));
    let alone = match (&ca, &certificate, &key) {
        (None, Some(_), _) => Some(("agents_certificate", "agents_ca")),
        (_, None, Some(_)) => Some(("agents_key", "agents_certificate")),
        _ => None,
    };
    if let Some((key, missing)) = alone.filter(|(_, missing)| !section.is_refused(missing)) {
        let hint = Some(format!("add {missing}"));
        problems.error(section.origin(key), format!("kafka.listener: {key} without {missing}"), hint);
    }
    let identity = certificate.map(|certificate| (certificate.clone(), key.unwrap_or(certificate)));
    Some(AgentsConfig { ca, identity, proxy: section.flag("agents_proxy_protocol")? })
}

/// What only works together.
pub(super) fn together(
    section: &Instance,
    clients: &GroupBy,
    has_names: bool,
    zones: usize,
    problems: &mut Problems,
) {
    if !matches!(clients, GroupBy::Connection { sni: true, .. }) {
        return;
    }
    if !has_names {
        let hint =
            "add certificates, or proxy_protocol where a proxy ends TLS and passes the name on".to_owned();
        let what = "kafka.listener: group_by_sni, and without TLS clients ask for no server name";
        problems.error(section.origin("group_by_sni"), what, Some(hint));
    }
    if zones == 0 {
        let hint = Some("add [[dns.zone]] with the apex of the names".to_owned());
        let what = "kafka.listener: group_by_sni, and there is no zone whose names clients could ask for";
        problems.error(section.origin("group_by_sni"), what, hint);
    }
}

#[cfg(test)]
mod tests {
    use super::super::super::{AgentsConfig, ClientAuth, Environment, Error, GroupBy, ListenerConfig, parse};
    use std::path::{Path, PathBuf};

    const TLS: &str = "certificates = [\"a.pem\", \"b.pem\"]\n";

    /// A listener with these lines; or all problems, in one text.
    fn listener(lines: &str) -> Result<ListenerConfig, String> {
        listener_of("{ source = \"registry\" }", lines)
    }

    /// [`listener`] of a cluster with other topics.
    fn listener_of(topics: &str, lines: &str) -> Result<ListenerConfig, String> {
        let text = format!(
            "[registry]\nurl = \"memory:\"\n[[dns.zone]]\napex = \"kafka.example\"\n[[cluster]]\nname = \"prod\"\n\
             topics = {topics}\n[[kafka.listener]]\nlisten = \"127.0.0.1:0\"\ncluster = \"prod\"\n{lines}"
        );
        match parse(Path::new("some/f.toml"), &text, &Environment::default()) {
            Ok(config) => Ok(config.kafka.listeners[0].clone()),
            Err(Error::Invalid(problems)) => {
                Err(problems.iter().map(|problem| format!("{}\n", problem.message)).collect())
            }
            Err(other) => panic!("{other}"),
        }
    }

    #[test]
    fn a_listener_says_whose_clients_come_in_one_way() {
        let by = |sni, source| GroupBy::Connection { sni, source };
        assert_eq!(listener(&format!("{TLS}group_by_sni = true")).unwrap().clients, by(true, false));
        assert_eq!(listener("group_by_source = true").unwrap().clients, by(false, true));
        assert_eq!(listener("group = \"vpc-1\"").unwrap().clients.to_string(), "vpc-1");
        for (lines, wanted) in [
            ("", "nothing tells the group of its clients\n"),
            ("group_by_sni = false", "nothing tells the group of its clients\n"),
            ("group = \"vpc-1\"\ngroup_by_source = true", "nothing else can tell the group\n"),
            ("group_by_sni = true", "without TLS clients ask for no server name\n"),
            ("group = \"-\u{e9}\"", "no name for a group"),
        ] {
            let said = listener(lines).unwrap_err();
            assert!(said.contains(wanted), "{lines}: {said}");
            assert_eq!(said.lines().count(), 1, "one mistake is one problem: {said}");
        }
    }

    #[test]
    fn keys_of_tls_and_proxies_hang_together() {
        let tls = |lines: &str| listener(&format!("group = \"a\"\n{lines}")).unwrap().tls.unwrap();
        let both = |name: &str| (PathBuf::from("some").join(name), PathBuf::from("some").join(name));
        assert_eq!(tls(TLS).identities, [both("a.pem"), both("b.pem")], "files that hold both");
        let own = tls(
            "certificates = [\"a.pem\"]\nkeys = [\"a.key\"]\nclient_auth = \"optional\"\nclient_ca = \"c\"",
        );
        assert_eq!(own.identities, [("some/a.pem".into(), "some/a.key".into())]);
        assert_eq!(own.clients, ClientAuth::Optional("some/c".into()));
        let proxy = listener(
            "group = \"a\"\nproxy_protocol = \"required\"\ntrusted_proxies = [\"10.0.0.0/24\", \"::1\"]",
        );
        assert!(proxy.unwrap().proxy.unwrap().required);
        for (lines, wanted) in [
            ("keys = [\"a.key\"]", "keys without certificates"),
            ("client_auth = \"required\"", "client_auth without certificates"),
            ("certificates = [\"a\"]\nkeys = [\"b\", \"c\"]", "1 certificates and 2 keys"),
            ("certificates = [\"a\"]\nclient_auth = \"required\"", "client_auth without client_ca"),
            ("certificates = [\"a\"]\nclient_ca = \"b\"", "no client is asked"),
            ("certificates = [\"\"]\nkeys = [\"b\"]", "an empty path"),
            ("proxy_protocol = \"required\"", "proxy_protocol without trusted_proxies"),
            ("proxy_protocol = \"optional\"\ntrusted_proxies = []", "without trusted_proxies"),
            ("trusted_proxies = [\"10.0.0.1\"]", "proxy_protocol is off"),
            ("proxy_protocol = \"required\"\ntrusted_proxies = [\"10.0.0.0/33\"]", "is no network"),
        ] {
            let said = listener(&format!("group = \"a\"\n{lines}")).unwrap_err();
            assert!(said.contains(wanted), "{lines}: {said}");
            assert_eq!(said.lines().count(), 1, "one mistake is one problem: {said}");
        }
    }

    #[test]
    fn keys_about_agents_need_topics_from_agents_and_hang_together() {
        let relaying =
            |lines: &str| listener_of("{ source = \"agents\" }", &format!("group = \"a\"\n{lines}"));
        let agents = |lines: &str| relaying(lines).unwrap().agents.unwrap();
        assert_eq!(agents(""), AgentsConfig::default());
        let full = agents("agents_ca = \"ca\"\nagents_certificate = \"c\"\nagents_proxy_protocol = true");
        assert_eq!(full.identity, Some(("some/c".into(), "some/c".into())));
        assert!(full.ca == Some("some/ca".into()) && full.proxy);
        assert_eq!(listener("group = \"a\"").unwrap().agents, None);
        for (lines, wanted) in [
            ("agents_certificate = \"c\"", "agents_certificate without agents_ca"),
            ("agents_ca = \"c\"\nagents_key = \"k\"", "agents_key without agents_certificate"),
        ] {
            let said = relaying(lines).unwrap_err();
            assert!(said.contains(wanted), "{lines}: {said}");
        }
        for lines in ["agents_ca = \"c\"", "agents_proxy_protocol = true"] {
            let said = listener(&format!("group = \"a\"\n{lines}")).unwrap_err();
            assert!(said.contains("the cluster's topics do not come from agents"), "{lines}: {said}");
        }
    }
}
