//! The daemon, with private networks of our own beside its own ones: what is asked about ours never reaches it.

use std::sync::Arc;

use crate::{
    network::Networks,
    units::Span,
    yagna::{
        CallError, Client, ExeCommand, NetworkId, NetworkPath, ProviderId, Request, Response,
        Status, Yagna, bus,
        wire::{self, HttpResponse},
    },
};

/// A bus of this machine answers within milliseconds. One that does not is no way to nodes, and that must be known
/// before the machine stops waiting: a network whose fate it does not know is looked for, and not made elsewhere.
const BUS_PATIENCE: Span = Span::secs(5);

/// The daemon and our networks, as one daemon.
#[derive(Clone, Debug)]
pub struct Routed<Y = Client> {
    daemon: Y,
    networks: Networks,
    requestor: ProviderId,
}

impl<Y> Routed<Y> {
    /// The `daemon`, where we are `requestor`, and our `networks`.
    #[must_use]
    pub const fn new(daemon: Y, networks: Networks, requestor: ProviderId) -> Self {
        Self { daemon, networks, requestor }
    }

    /// A network is made over the bus of this daemon only: the frames of its nodes come to no other.
    async fn create(&self, request: &Request, patience: Span) -> Result<HttpResponse, CallError> {
        let known = match self.networks.bus() {
            Some(address) => {
                bus::serves(address, &self.requestor, patience.min(BUS_PATIENCE)).await
            }
            None => Err(bus::BusError::Unused),
        };
        if let Err(error) = known {
            let why = error.to_string();
            return answered(Err(CallError::Rejected { status: Status::NOT_FOUND, body: why }));
        }
        let made = self.networks.serve(request).await;
        answered(made.expect("a network is made by us"))
    }

    /// A script that deploys into a network of ours, with us among the nodes; none if it does not.
    async fn deployed(&self, script: &[ExeCommand]) -> Result<Option<Vec<ExeCommand>>, CallError> {
        let is_ours = |network: &NetworkId| self.networks.has(network);
        let mut script = script.to_vec();
        let mut is_changed = false;
        for command in &mut script {
            let ExeCommand::Deploy { networks } = command else { continue };
            for deployment in networks.iter_mut().filter(|it| is_ours(&it.network)) {
                self.networks.deploy(deployment, &self.requestor).await?;
                is_changed = true;
            }
        }
        Ok(is_changed.then_some(script))
    }
}

impl<Y: Yagna + Sync> Yagna for Routed<Y> {
    async fn exchange(&self, request: &Request, patience: Span) -> Result<HttpResponse, CallError> {
        if let Request::ListNetworks = request {
            let reply = self.daemon.exchange(request, patience).await?;
            return Ok(both(&reply, self.networks.serve(request).await).unwrap_or(reply));
        }
        if let Request::Execute { activity, script, timeout } = request
            && let Some(script) = self.deployed(script).await?
        {
            let (activity, timeout) = (activity.clone(), *timeout);
            let request = Request::Execute { activity, script: Arc::new(script), timeout };
            return self.daemon.exchange(&request, patience).await;
        }
        if let Request::CreateNetwork { path: NetworkPath::Bus, .. } = request {
            return self.create(request, patience).await;
        }
        if let Some(served) = self.networks.serve(request).await {
            return answered(served);
        }
        self.daemon.exchange(request, patience).await
    }
}

/// An answer of ours in the daemon's form.
fn answered(served: Result<Response, CallError>) -> Result<HttpResponse, CallError> {
    match served {
        Ok(response) => Ok(wire::encode_response(Ok(&response))),
        Err(CallError::Rejected { status, body }) => {
            Ok(wire::encode_response(Err((status, &body))))
        }
        Err(error @ (CallError::NotSent { .. } | CallError::Unknown(_))) => Err(error),
    }
}

/// The daemon's networks and ours; none if the daemon's answer is no list of them.
fn both(reply: &HttpResponse, ours: Option<Result<Response, CallError>>) -> Option<HttpResponse> {
    let Ok(Response::Networks(mut networks)) = wire::decode_response(&Request::ListNetworks, reply)
    else {
        return None;
    };
    let Some(Ok(Response::Networks(ours))) = ours else { return None };
    networks.extend(ours);
    Some(wire::encode_response(Ok(&Response::Networks(networks))))
}

#[cfg(test)]
mod tests {
    use std::{
        net::{IpAddr, Ipv4Addr},
        os::unix::net::UnixListener,
        sync::{Arc, Mutex},
    };

    use tempfile::TempDir;

    use super::Routed;
    use crate::{
        network::Networks,
        units::Span,
        yagna::{
            CallError, Deployment, ExeCommand, Network, NetworkId, NetworkPath, ProviderId,
            Request, Response, Status, Yagna,
            bus::BusAddress,
            wire::{self, HttpResponse},
        },
    };

    const US: &str = "0xus";
    const NODE: Ipv4Addr = Ipv4Addr::new(192, 168, 0, 3);
    const PATIENCE: Span = Span::secs(10);

    /// A daemon with one network, that keeps what it is asked.
    #[derive(Clone, Default)]
    struct Daemon(Arc<Mutex<Vec<Request>>>);

    impl Daemon {
        fn heard(&self) -> Vec<Request> {
            std::mem::take(&mut self.0.lock().expect("no panic"))
        }
    }

    impl Yagna for Daemon {
        async fn exchange(&self, request: &Request, _: Span) -> Result<HttpResponse, CallError> {
            self.0.lock().expect("no panic").push(request.clone());
            let response = if let Request::ListNetworks = request {
                Response::Networks(vec![theirs()])
            } else if let Request::CreateNetwork { .. } = request {
                Response::NetworkCreated(theirs())
            } else {
                Response::BatchStarted("ba7c".repeat(8).into())
            };
            Ok(wire::encode_response(Ok(&response)))
        }
    }

    fn theirs() -> Network {
        Network {
            id: "7e17".repeat(8).into(),
            ip: "10.0.0.0/24".to_owned(),
            mask: ip([255, 255, 255, 0]),
            gateway: ip([10, 0, 0, 1]),
        }
    }

    fn routed() -> (TempDir, Daemon, Routed<Daemon>) {
        let data = tempfile::tempdir().expect("a directory");
        let nowhere = BusAddress::Unix(data.path().join("no-bus"));
        let networks = Networks::open(data.path(), Some(nowhere)).expect("no file");
        let daemon = Daemon::default();
        (data, daemon.clone(), Routed::new(daemon, networks, US.into()))
    }

    fn ip(bytes: [u8; 4]) -> IpAddr {
        bytes.into()
    }

    fn create(path: NetworkPath) -> Request {
        let (ip, gateway) = (ip([192, 168, 0, 0]), ip([192, 168, 192, 1]));
        Request::CreateNetwork { path, ip, prefix: 16, gateway }
    }

    /// A network of ours, as if the daemon's bus answered.
    async fn created(routed: &Routed<Daemon>) -> Network {
        match routed.networks.serve(&create(NetworkPath::Bus)).await {
            Some(Ok(Response::NetworkCreated(network))) => network,
            other => panic!("{other:?}"),
        }
    }

    #[tokio::test]
    async fn without_the_bus_of_its_daemon_no_network_of_ours_is_made() {
        let (_data, daemon, routed) = routed();

        let refused = routed.call(create(NetworkPath::Bus), PATIENCE).await;

        assert!(
            matches!(&refused, Err(error) if error.is_refusal(Status::NOT_FOUND)),
            "{refused:?}"
        );
        assert_eq!(daemon.heard(), []);
    }

    #[tokio::test]
    async fn a_bus_that_says_nothing_is_none() {
        let (data, daemon, routed) = routed();
        let _mute = UnixListener::bind(data.path().join("no-bus")).expect("a short path");

        let refused = routed.call(create(NetworkPath::Bus), Span::millis(50)).await;

        let is_refused = matches!(&refused, Err(error) if error.is_refusal(Status::NOT_FOUND));
        assert!(is_refused, "{refused:?}");
        assert_eq!(daemon.heard(), []);
    }

    fn add(network: &NetworkId, ip: Ipv4Addr) -> Request {
        Request::AddNode { network: network.clone(), provider: "0xa".into(), ip: ip.into() }
    }

    #[tokio::test]
    async fn a_network_of_ours_never_reaches_the_daemon() {
        let (_data, daemon, routed) = routed();

        let ours = created(&routed).await;
        let again = created(&routed).await;
        let added = routed.call(add(&ours.id, NODE), PATIENCE).await;
        let strange = routed.call(add(&ours.id, [10, 0, 0, 3].into()), PATIENCE).await;

        assert_eq!((again, added), (ours.clone(), Ok(Response::NodeAdded)));
        assert!(matches!(strange, Err(CallError::Rejected { .. })), "{strange:?}");
        assert_eq!(daemon.heard(), []);
        let listed = routed.call(Request::ListNetworks, PATIENCE).await;
        assert_eq!(listed, Ok(Response::Networks(vec![theirs(), ours.clone()])));
        let remove = Request::RemoveNetwork { network: ours.id };
        assert_eq!(routed.call(remove, PATIENCE).await, Ok(Response::NetworkRemoved));
        let listed = routed.call(Request::ListNetworks, PATIENCE).await;
        assert_eq!(listed, Ok(Response::Networks(vec![theirs()])));
    }

    #[tokio::test]
    async fn a_network_of_the_daemon_is_left_to_it() {
        let (_data, daemon, routed) = routed();

        let made = routed.call(create(NetworkPath::Daemon), PATIENCE).await;

        assert_eq!(made, Ok(Response::NetworkCreated(theirs())));
        assert_eq!(daemon.heard(), [create(NetworkPath::Daemon)]);
    }

    #[tokio::test]
    async fn a_node_of_ours_is_deployed_with_us_among_the_nodes() {
        let (_data, daemon, routed) = routed();
        let ours = created(&routed).await;
        routed.call(add(&ours.id, NODE), PATIENCE).await.expect("a free address");
        let itself: (Ipv4Addr, ProviderId) = (NODE, "0xa".into());
        let deploy = |network: &NetworkId, nodes| Request::Execute {
            activity: "activity".into(),
            script: Arc::new(vec![ExeCommand::Deploy {
                networks: vec![Deployment {
                    network: network.clone(),
                    ip: [192, 168, 0, 0].into(),
                    mask: [255, 255, 0, 0].into(),
                    node_ip: NODE,
                    nodes,
                }],
            }]),
            timeout: PATIENCE,
        };

        for network in [&ours.id, &theirs().id] {
            let request = deploy(network, vec![itself.clone()]);
            routed.call(request, PATIENCE).await.expect("the daemon takes it");
        }

        let us = ([192, 168, 0, 1].into(), US.into());
        let expected =
            [deploy(&ours.id, vec![us, itself.clone()]), deploy(&theirs().id, vec![itself])];
        assert_eq!(daemon.heard(), expected);
    }
}
