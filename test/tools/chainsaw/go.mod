module github.com/space-dra/space-dra-driver/test/tools/chainsaw

go 1.26.0

require github.com/kyverno/chainsaw v0.2.12
