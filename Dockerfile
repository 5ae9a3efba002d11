# Build: install into a virtual environment and fetch the small model. This image has a C compiler.
FROM python:3.11 AS build
WORKDIR /src
RUN python -m venv /opt/gateway
ENV PATH=/opt/gateway/bin:$PATH XDG_CACHE_HOME=/opt/cache PIP_NO_CACHE_DIR=1
COPY locks ./locks
RUN pip install --require-hashes --no-deps --requirement locks/runtime.txt \
    && pip install --require-hashes --no-deps --requirement locks/cuda.txt
COPY pyproject.toml README.md LICENSE ./
COPY gateway ./gateway
RUN pip install --no-deps --no-build-isolation . \
    && slm-gateway pull

# Run: only the environment and the model, as a user without rights.
FROM python:3.11-slim
RUN useradd --uid 10001 --create-home --home-dir /var/lib/gateway gateway
COPY --from=build /opt/gateway /opt/gateway
COPY --from=build --chown=10001 /opt/cache /opt/cache
ENV PATH=/opt/gateway/bin:$PATH XDG_CACHE_HOME=/opt/cache PYTHONUNBUFFERED=1
USER 10001
WORKDIR /var/lib/gateway
EXPOSE 8080
HEALTHCHECK --interval=10s --timeout=3s --start-period=60s \
    CMD ["python", "-c", "import urllib.request as u; u.urlopen('http://127.0.0.1:8080/healthz', timeout=2)"]
# Needs GATEWAY_API_KEYS: a gateway that others can reach doesn't start without client keys.
CMD ["slm-gateway", "serve", "--host", "0.0.0.0"]
