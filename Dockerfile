# The engine's roles: `docker run … wattaway run bridge`. The servers come from their official images (compose.yaml).
FROM python:3.11-slim
WORKDIR /app
COPY constraints.txt pyproject.toml README.md LICENSE ./
COPY domain domain
COPY projections projections
COPY bridges bridges
COPY api api
COPY ops ops
RUN pip install --no-cache-dir -c constraints.txt . \
    && useradd --create-home --uid 10001 wattaway \
    && install -d -o wattaway -g wattaway /data
USER wattaway
ENV WATTAWAY_DATA_DIR=/data WATTAWAY_LOG_FORMAT=json
VOLUME /data
ENTRYPOINT ["wattaway"]
CMD ["--help"]
