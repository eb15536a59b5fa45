# The service, for Docker and Kubernetes: docs/deploy.md has the commands. Nothing else needs this file.
FROM python:3.11-slim
ARG TORCH=cpu
ARG EXTRAS=images,onnx,pretrained
WORKDIR /build
COPY pyproject.toml constraints.txt README.md LICENSE ./
COPY conf conf
COPY sr sr
# TORCH names PyTorch's build: cpu, or of CUDA such as cu130, whose wheels bring all of CUDA but the driver.
RUN pip install --no-cache-dir --constraint constraints.txt --index-url https://download.pytorch.org/whl/${TORCH} --extra-index-url https://pypi.org/simple torch
RUN pip install --no-cache-dir --constraint constraints.txt ".[${EXTRAS}]"
RUN useradd --create-home --uid 1000 sr
USER sr
WORKDIR /home/sr
# Only inside the container it listens on all addresses: `docker run --publish` decides who reaches it.
EXPOSE 8000
HEALTHCHECK --start-period=60s CMD ["python", "-c", "from urllib.request import urlopen; urlopen('http://127.0.0.1:8000/readyz')"]
ENTRYPOINT ["python", "-m", "sr.serve", "host=0.0.0.0"]
