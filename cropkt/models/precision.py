"""Which number format the wide matrix products run in.

bfloat16 multiplies 2 to 4 times faster where the hardware has it natively; sums, softmax, pooling, heads and losses
stay in float32.
"""

import torch

from cropkt.errors import refuse_unknown
from cropkt.models.names import PRECISION_NAMES

DTYPES = {"float32": torch.float32, "bfloat16": torch.bfloat16}


def resolve_precision(precision: str, device: str) -> str:
    """ "auto" becomes "bfloat16" where `device` multiplies it natively, else "float32"."""
    refuse_unknown("precision", precision, list(PRECISION_NAMES))
    if precision != "auto":
        return precision
    return "bfloat16" if _native_bfloat16(device) else "float32"


def _native_bfloat16(device: str) -> bool:
    if torch.device(device).type == "cuda":
        return torch.cuda.is_available() and torch.cuda.get_device_capability(device) >= (8, 0)
    capabilities = torch.cpu.get_capabilities() if hasattr(torch.cpu, "get_capabilities") else {}
    return bool(capabilities.get("avx512_bf16") or capabilities.get("amx_bf16"))


def matmul_precision(precision: str, device: str) -> torch.autocast:
    """A context in which matrix products run in `precision` ("float32" or "bfloat16") on `device`."""
    enabled = torch_dtype(precision) == torch.bfloat16
    # A cast of the weights that is kept would gather the gradients of a batch's pieces in bfloat16; casting costs 1 ms.
    return torch.autocast(torch.device(device).type, dtype=torch.bfloat16, enabled=enabled, cache_enabled=False)


def torch_dtype(precision: str) -> torch.dtype:
    """The dtype in which patches are kept resident for `precision` ("float32" or "bfloat16")."""
    refuse_unknown("precision", precision, list(DTYPES))
    return DTYPES[precision]
