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
            Some(address) => bus::serves(address, &self.requestor, patience).await,
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
