"""golem-core rents a node, runs `echo`, and accepts the bill.

    core.py IMAGE_HASH IMAGE_URL
"""

import asyncio
import sys
from datetime import timedelta

from golem.managers import (
    DefaultAgreementManager,
    DefaultPaymentManager,
    DefaultProposalManager,
    NegotiatingPlugin,
    PaymentPlatformNegotiator,
    RefreshingDemandManager,
    SequentialWorkManager,
    SingleUseActivityManager,
)
from golem.node import GolemNode
from golem.payload import VmPayload

IMAGE_HASH, IMAGE_URL = sys.argv[1:]


async def echo(context):
    batch = await context.run(["/bin/echo", "hello", "from", "golem-core"])
    results = await batch.wait(timeout=60)
    return results[-1].stdout


async def main():
    golem = GolemNode()
    payment = DefaultPaymentManager(golem, budget=1.0, shutdown_timeout=timedelta(seconds=30))
    demand = RefreshingDemandManager(
        golem, payment.get_allocation, [VmPayload(f"hash:sha3:{IMAGE_HASH}:{IMAGE_URL}")]
    )
    proposal = DefaultProposalManager(
        golem,
        demand.get_initial_proposal,
        plugins=[NegotiatingPlugin(proposal_negotiators=(PaymentPlatformNegotiator(),))],
    )
    agreement = DefaultAgreementManager(golem, proposal.get_draft_proposal)
    activity = SingleUseActivityManager(golem, agreement.get_agreement)
    work = SequentialWorkManager(golem, activity.get_activity)
    async with golem, payment, demand, proposal, agreement:
        result = await work.do_work(echo)
    if result.exception:
        raise result.exception
    print("STDOUT", result.result.strip())


asyncio.run(main())
