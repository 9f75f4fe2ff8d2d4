module github.com/speechgate/speechgate/e2e/sdk/assemblyai

go 1.26.0

require github.com/AssemblyAI/assemblyai-go-sdk v1.3.0

require (
	github.com/cenkalti/backoff v2.2.1+incompatible // indirect
	github.com/google/go-querystring v1.1.0 // indirect
	github.com/klauspost/compress v1.10.3 // indirect
	nhooyr.io/websocket v1.8.7 // indirect
)
