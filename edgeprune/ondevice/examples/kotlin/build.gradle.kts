plugins {
    kotlin("jvm") version "2.1.20"
    application
}

repositories {
    mavenCentral()
}

dependencies {
    implementation("com.microsoft.onnxruntime:onnxruntime:1.26.0")
    implementation("com.google.code.gson:gson:2.11.0")
}

application {
    mainClass = "AnswerKt"
}
