"""Prints legacy.json: backups as the original Python service wrote them, made with its own tools.

    python3 -m pip install cryptography && python3 test/vectors/legacy.py > test/vectors/legacy.json
"""

import base64
import json

from cryptography.hazmat.primitives.ciphers.aead import AESGCM
from cryptography.hazmat.primitives.kdf.scrypt import Scrypt


def derived(secret: str) -> bytes:
    salt = b"th_timmy_config_backup_v1"
    return Scrypt(salt=salt, length=32, n=2**14, r=8, p=1).derive(secret.encode("utf-8"))


def sealed(key: bytes, nonce_byte: int, plain: str) -> str:
    nonce = bytes([nonce_byte]) * 12
    return base64.b64encode(nonce + AESGCM(key).encrypt(nonce, plain.encode("utf-8"), None)).decode("ascii")


VALUE = {
    "name": "Zürich \U0001f600",
    "timeout": 1.0,
    "rate": 1e16,
    "tiny": 1e-07,
    "id": 123456789012345678901234567890,
    "ports": {"443": "https", "80": "http"},
    "enabled": True,
    "country": "no",
    "nothing": None,
    "list": [1, 2.5, []],
}
TEXT = {"_raw": "# keep me\nport: 80\n"}

raw_key = bytes(range(1, 33))
key_text = "00112233445566778899aabbccddeeff" * 2
passphrase = "correct horse battery stäple"

vectors = {
    "plain": json.dumps(VALUE),
    "rawPlain": json.dumps(TEXT),
    "rawKeyFile": {"keyFileBase64": base64.b64encode(raw_key).decode("ascii"), "fileBase64": sealed(raw_key, 1, json.dumps(VALUE))},
    "textKeyFile": {
        "keyFileBase64": base64.b64encode(key_text.encode("ascii")).decode("ascii"),
        "keyHex": derived(key_text).hex(),
        "fileBase64": sealed(derived(key_text), 2, json.dumps(VALUE)),
    },
    "passphrase": {
        "passphrase": passphrase,
        "keyHex": derived(passphrase).hex(),
        "fileBase64": sealed(derived(passphrase), 3, json.dumps(TEXT)),
    },
}
print(json.dumps(vectors, indent=2))
