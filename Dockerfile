# Two stages: the first one builds a virtual environment from the hash-locked wheels, the second one only holds it.
# No compiler in either: every dependency has a wheel.
ARG PYTHON_VERSION=3.13

FROM python:${PYTHON_VERSION}-slim AS build
ENV PIP_DISABLE_PIP_VERSION_CHECK=1 PIP_NO_CACHE_DIR=1 PIP_NO_INPUT=1
WORKDIR /src
COPY requirements.txt requirements-build.txt ./
# The environment of the image gets no pip; the tools that build the project's own wheel stay behind in this stage.
RUN python -m venv --without-pip /opt/gateway \
    && python -m venv /opt/build \
    && pip --python /opt/gateway/bin/python install --require-hashes --only-binary :all: -r requirements.txt \
    && pip --python /opt/build/bin/python install --require-hashes --only-binary :all: -r requirements-build.txt
COPY pyproject.toml hatch_build.py README.md LICENSE ./
COPY gateway ./gateway
RUN /opt/build/bin/pip wheel --no-build-isolation --no-deps --no-index --wheel-dir /wheels . \
    && pip --python /opt/gateway/bin/python install --no-deps --no-index /wheels/*.whl

FROM python:${PYTHON_VERSION}-slim
# The admin port is published by whoever runs the container, so inside it the server may face its network.
ENV PATH="/opt/gateway/bin:$PATH" \
    PYTHONUNBUFFERED=1 \
    PYTHONDONTWRITEBYTECODE=1 \
    GATEWAY_ADMIN__BIND="0.0.0.0:9464"
# Made as root and mode 0700: a fresh volume takes owner and mode from here.
RUN groupadd --system --gid 10001 gateway \
    && useradd --system --uid 10001 --gid gateway --home-dir /var/lib/gateway --no-create-home --shell /usr/sbin/nologin gateway \
    && install -d -o gateway -g gateway -m 0700 /var/lib/gateway
COPY --from=build /opt/gateway /opt/gateway
# A number, so that Kubernetes can see that it is not root.
USER 10001:10001
WORKDIR /var/lib/gateway
VOLUME ["/var/lib/gateway"]
EXPOSE 5684/udp 9464/tcp
HEALTHCHECK --interval=30s --timeout=5s --start-period=10s --retries=3 \
    CMD ["python", "-c", "import urllib.request; urllib.request.urlopen('http://127.0.0.1:9464/livez', timeout=4)"]
ENTRYPOINT ["gateway"]
# `docker run IMAGE init /var/lib/gateway` writes the configuration, the registry and development keys that this reads.
CMD ["serve", "--config", "/var/lib/gateway/gateway.toml"]
