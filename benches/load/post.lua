wrk.method="POST"
wrk.headers["content-type"]="application/json"
wrk.headers["authorization"]="Bearer test-key"
wrk.body='{"model": "gpt-4o", "messages": [{"role": "system", "content": "You are a helpful assistant."}, {"role": "user", "content": "Who is the most renowned French painter? Answer in one direct, short sentence, and name one of the works as well, please. Thank you very much."}], "temperature": 0.7, "max_tokens": 256}'
