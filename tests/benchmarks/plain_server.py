"""The peer of row 12: FastAPI and uvicorn before the same generator, one request after the other."""

import argparse
import asyncio
import base64
import io
import threading
import time
from pathlib import Path

import torch
import uvicorn
from fastapi import FastAPI
from PIL import Image
from pydantic import BaseModel

from pangu.generate import GenerationRequest, Generator
from pangu.pipeline import load_experts


class Order(BaseModel):
    prompt: str
    seed: int
    steps: int
    guidance: float = 3.0
    timeout_s: float = 0.0


def make_app(folder: Path | None) -> FastAPI:
    """Pictures of the pair in a folder; without one, a flat picture after no work at all."""
    generator = Generator(load_experts(folder, "cpu"), rows_per_batch=2) if folder is not None else None
    lock = threading.Lock()
    app = FastAPI()

    def draw(order: Order) -> bytes:
        with lock:
            if generator is None:
                picture = Image.new("RGB", (64, 64), (3, order.seed % 256, 0))
            else:
                asked = GenerationRequest(
                    key="0", prompt=order.prompt, seed=order.seed, steps=order.steps, guidance=order.guidance
                )
                picture = Image.fromarray(generator.generate([asked])[0].image)
            buffer = io.BytesIO()
            picture.save(buffer, "PNG")
            return buffer.getvalue()

    @app.post("/v1/images/generations")
    async def create_images(order: Order) -> dict[str, object]:
        file = await asyncio.to_thread(draw, order)
        return {"created": int(time.time()), "data": [{"b64_json": base64.b64encode(file).decode()}]}

    return app


if __name__ == "__main__":
    parser = argparse.ArgumentParser()
    parser.add_argument("--port", type=int, required=True)
    parser.add_argument("--folder", type=Path)
    chosen = parser.parse_args()
    torch.set_num_threads(1)
    uvicorn.run(make_app(chosen.folder), host="127.0.0.1", port=chosen.port, log_level="warning")
