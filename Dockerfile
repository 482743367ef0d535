# Build: the wheel, with the compiled codec.
FROM python:3.13-slim-bookworm AS build
RUN apt-get update && apt-get install -y --no-install-recommends gcc libc6-dev && rm -rf /var/lib/apt/lists/*
WORKDIR /src
COPY . .
RUN python -m venv /opt/idnode && /opt/idnode/bin/pip install --no-cache-dir . \
 && HANDLE_CODEC_PURE= /opt/idnode/bin/python -c "import handle_codec as c; assert c.IMPLEMENTATION == 'compiled', c.IMPLEMENTATION" \
 && cd / && /opt/idnode/bin/python -c "from node import compiled as c; assert c.state() == 'compiled', c.state()"

# Run: no compiler, no sources, no root.
FROM python:3.13-slim-bookworm
RUN useradd --system --uid 10001 --no-create-home idnode
COPY --from=build /opt/idnode /opt/idnode
ENV PATH=/opt/idnode/bin:$PATH PYTHONUNBUFFERED=1
USER idnode
EXPOSE 8000 9464
STOPSIGNAL SIGTERM
HEALTHCHECK --interval=10s --timeout=3s --start-period=20s \
  CMD ["python", "-c", "import urllib.request as u; u.urlopen('http://127.0.0.1:8000/health/ready', timeout=2)"]
ENTRYPOINT ["idnode"]
# `::` takes IPv4 and IPv6.
CMD ["serve", "--host", "::", "--port", "8000", "--workers", "2"]
