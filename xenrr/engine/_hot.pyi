layout: int
loaded_as: str
spec_bytes: int
tally_bytes: int

def run(spec: bytes, /) -> tuple[bytes, bytes, bytes]: ...
def pollers() -> int: ...
