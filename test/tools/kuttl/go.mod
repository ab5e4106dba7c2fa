module github.com/space-dra/space-dra-driver/test/tools/kuttl

go 1.26.0

require github.com/kudobuilder/kuttl v0.20.0
