"""The stand-in chains: Ethereum JSON-RPC, as much as the daemon needs to show a wallet, to check an
allocation, and to pay.

Every address owns 1000 GLM and 1 ETH, whatever it spends. What becomes of a transaction is the
chain's mood:

    mines     it is in a block at once
    reverts   it is in a block, and failed
    stalls    it is taken, and gets into no block before the mood changes
    refuses   it is not taken
    no-gas    nobody owns any ETH, so the daemon does not even try
"""

import time

from keccak import keccak256

WEI = 10**18
GLM_BALANCE = 1000 * WEI
ETH_BALANCE = 1 * WEI
GAS_PRICE = 10**9
BLOCK_SECONDS = 12

CHAIN_IDS = {
    "mainnet": 1,
    "rinkeby": 4,
    "goerli": 5,
    "polygon": 137,
    "holesky": 17000,
    "mumbai": 80001,
    "amoy": 80002,
    "hoodi": 560048,
    "sepolia": 11155111,
}
MOODS = ("mines", "reverts", "stalls", "refuses", "no-gas")

# The first four bytes of the data of a contract call name the function.
BALANCE_OF = "0x70a08231"  # balanceOf(address)
CONTRACT_ANSWERS = {
    BALANCE_OF: GLM_BALANCE,
    "0xdd62ed3e": 2**255,  # allowance(address,address)
    "0x313ce567": 18,  # decimals()
}
TRANSFER = bytes.fromhex("a9059cbb")  # transfer(address,uint256)
# What a token contract writes into the log: Transfer(address,address,uint256).
TRANSFERRED = "0xddf252ad1be2c89b69c2b068fc378daa952ba7f163c4a11628f55a4df523b3ef"
NO_BLOOM = "0x" + "0" * 512


class Refused(Exception):
    """The chain does not do this."""


class Chain:
    """One chain: the transactions it took, and who asked last for its own number of them."""

    def __init__(self, chain_id: int):
        self.chain_id = chain_id
        self.mood = "mines"
        self.taken = {}  # By hash: the transaction and its receipt.
        self.waiting = set()  # Hashes of those that are in no block.
        # A signature tells its signer only by much arithmetic. There is one wallet that pays, and
        # it asks for its number of transactions before it signs.
        self.payer = "0x" + "0" * 40

    def become(self, mood: str):
        """Changes the mood."""
        self.mood = mood
        if mood != "stalls":
            self.waiting.clear()

    def rpc(self, request: dict) -> dict:
        """One JSON-RPC request and its reply."""
        reply = {"jsonrpc": "2.0", "id": request.get("id")}
        try:
            result = self._answer(request.get("method", ""), request.get("params") or [])
            return {**reply, "result": result}
        except Refused as refused:
            return {**reply, "error": {"code": -32000, "message": str(refused)}}

    def _answer(self, method: str, params: list):
        head = int(time.time()) // BLOCK_SECONDS
        constants = {
            "eth_chainId": hex(self.chain_id),
            "net_version": str(self.chain_id),
            "eth_blockNumber": hex(head),
            "eth_getBalance": hex(0 if self.mood == "no-gas" else ETH_BALANCE),
            "eth_gasPrice": hex(GAS_PRICE),
            "eth_maxPriorityFeePerGas": hex(GAS_PRICE),
            "eth_estimateGas": hex(60_000),
            "eth_syncing": False,
            "eth_getLogs": [],
        }
        if method in constants:
            return constants[method]
        if method in ("eth_getBlockByNumber", "eth_getBlockByHash"):
            named = str(params[0]) if params else "latest"
            is_number = named.startswith("0x") and len(named) < 66
            return block(int(named, 16) if is_number else head)
        if method == "eth_getTransactionCount":
            self.payer = params[0].lower()
            return hex(self._count(params[0].lower(), is_pending=params[1] == "pending"))
        if method == "eth_sendRawTransaction":
            return self._take(bytes.fromhex(params[0][2:]), head)
        if method in ("eth_getTransactionByHash", "eth_getTransactionReceipt"):
            transaction, receipt = self.taken.get(params[0], (None, None))
            if params[0] in self.waiting:
                nowhere = {"blockHash": None, "blockNumber": None, "transactionIndex": None}
                transaction, receipt = {**transaction, **nowhere}, None
            return receipt if method.endswith("Receipt") else transaction
        if method == "eth_call":
            data = params[0].get("data") or params[0].get("input") or "0x"
            if data[:10] in CONTRACT_ANSWERS:
                return word(CONTRACT_ANSWERS[data[:10]])
        raise Refused(f"the lab's chain does not do {method}")

    def _count(self, address: str, is_pending: bool) -> int:
        """How many transactions of `address` were taken, or got into a block."""
        own = {key for key, (transaction, _) in self.taken.items() if transaction["from"] == address}
        return len(own if is_pending else own - self.waiting)

    def _take(self, raw: bytes, head: int) -> str:
        """Takes a signed transaction and tells its hash."""
        if self.mood in ("refuses", "no-gas"):
            raise Refused(f"the lab's chain {self.mood}")
        digest = "0x" + keccak256(raw).hex()
        # An EIP-1559 transaction is its type, 2, and a list whose fields have fixed places.
        fields = rlp_item(raw[1:])[0]
        number = [int.from_bytes(field, "big") for field in fields[:8]]
        place = {"blockHash": word(head), "blockNumber": hex(head), "transactionIndex": "0x0"}
        contract, data = "0x" + fields[5].hex(), fields[7]
        transaction = {
            **place,
            "hash": digest,
            "nonce": hex(number[1]),
            "from": self.payer,
            "to": contract,
            "value": hex(number[6]),
            "gas": hex(number[4]),
            "gasPrice": hex(number[3]),
            "maxPriorityFeePerGas": hex(number[2]),
            "maxFeePerGas": hex(number[3]),
            "input": "0x" + data.hex(),
            "type": "0x2",
            "chainId": hex(self.chain_id),
            **{name: "0x" + (fields[at].hex() or "0") for name, at in SIGNATURE},
        }
        succeeds = self.mood != "reverts"
        receipt = {
            **place,
            "transactionHash": digest,
            "from": self.payer,
            "to": contract,
            "contractAddress": None,
            "gasUsed": hex(50_000),
            "cumulativeGasUsed": hex(50_000),
            "effectiveGasPrice": hex(GAS_PRICE),
            "logs": self._logs(contract, data, {**place, "transactionHash": digest}) if succeeds else [],
            "logsBloom": NO_BLOOM,
            "status": "0x1" if succeeds else "0x0",
            "type": "0x2",
        }
        self.taken[digest] = (transaction, receipt)
        if self.mood == "stalls":
            self.waiting.add(digest)
        return digest

    def _logs(self, contract: str, data: bytes, place: dict) -> list:
        """What the token contract writes down about a transfer."""
        if data[:4] != TRANSFER:
            return []
        topics = [TRANSFERRED, "0x" + self.payer[2:].zfill(64), "0x" + data[4:36].hex()]
        amount = "0x" + data[36:68].hex()
        entry = {"address": contract, "topics": topics, "data": amount, "logIndex": "0x0"}
        return [{**place, **entry, "removed": False}]


# Where a signature stands in the fields of an EIP-1559 transaction.
SIGNATURE = (("v", 9), ("r", 10), ("s", 11))


def word(number: int) -> str:
    """A number as 32 bytes of data."""
    return f"0x{number:064x}"


def block(number: int) -> dict:
    """An empty block whose number tells its time."""
    quantities = ("nonce", "difficulty", "totalDifficulty", "gasUsed")
    hashes = ("sha3Uncles", "transactionsRoot", "stateRoot", "receiptsRoot", "mixHash")
    return {
        **{name: "0x0" for name in quantities},
        **{name: word(0) for name in hashes},
        "nonce": "0x" + "0" * 16,
        "number": hex(number),
        "hash": word(number),
        "parentHash": word(number - 1),
        "miner": "0x" + "0" * 40,
        "logsBloom": NO_BLOOM,
        "extraData": "0x",
        "size": "0x200",
        "gasLimit": hex(30_000_000),
        "baseFeePerGas": hex(GAS_PRICE),
        "timestamp": hex(number * BLOCK_SECONDS),
        "transactions": [],
        "uncles": [],
    }


def rlp_item(data: bytes):
    """The first item of RLP-encoded data, bytes or a list, and what follows it."""
    first = data[0]
    if first < 0x80:
        return data[:1], data[1:]
    is_list = first >= 0xC0
    length, start = first - (0xC0 if is_list else 0x80), 1
    if length > 55:  # The length of the length.
        start = 1 + length - 55
        length = int.from_bytes(data[1:start], "big")
    body, rest = data[start : start + length], data[start + length :]
    if not is_list:
        return body, rest
    items = []
    while body:
        item, body = rlp_item(body)
        items.append(item)
    return items, rest
