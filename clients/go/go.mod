module proxy-gpt.example/proxygpt

go 1.19
